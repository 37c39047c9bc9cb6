//! The texts of `/proc`, parsed. Nothing here reads a file.
//!
//! Texts come from the kernel, but names in them come from anybody: parsers answer `None` where a field is missing, and
//! [`clean`] takes out what a terminal might obey.

/// What `/proc/PID/stat` or `/proc/PID/task/TID/stat` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) name: String,
    pub(crate) state: char,
    pub(crate) parent: u32,
    pub(crate) flags: u64,
    pub(crate) user_ticks: u64,
    pub(crate) system_ticks: u64,
    /// Of children that have been waited for.
    pub(crate) child_ticks: u64,
    pub(crate) nice: i32,
    pub(crate) started_ticks: u64,
    pub(crate) cpu: Option<u32>,
    pub(crate) rt_priority: u32,
    pub(crate) policy: u32,
    /// Waiting for disks.
    pub(crate) io_ticks: Option<u64>,
}

/// In `flags`: a thread of the kernel.
pub(crate) const KERNEL_THREAD: u64 = 0x0020_0000;

impl Stat {
    pub(crate) fn parse(text: &str) -> Option<Stat> {
        // The name may hold spaces and parentheses.
        let open = text.find('(')?;
        let close = text.rfind(')')?;
        let name = clean(text.get(open + 1..close)?);
        let fields: Vec<&str> = text.get(close + 1..)?.split_whitespace().collect();
        // Fields are numbered from 1 in proc(5); the state is the third.
        let field = |number: usize| fields.get(number - 3).copied();
        let number = |at: usize| field(at).and_then(|text| text.parse::<u64>().ok());
        Some(Stat {
            name,
            state: field(3)?.chars().next()?,
            parent: field(4)?.parse().ok()?,
            flags: number(9)?,
            user_ticks: number(14)?,
            system_ticks: number(15)?,
            child_ticks: number(16)?.saturating_add(number(17)?),
            nice: field(19)?.parse().ok()?,
            started_ticks: number(22)?,
            cpu: number(39).and_then(|cpu| u32::try_from(cpu).ok()),
            rt_priority: number(40).and_then(|p| u32::try_from(p).ok()).unwrap_or(0),
            policy: number(41).and_then(|p| u32::try_from(p).ok()).unwrap_or(0),
            io_ticks: number(42),
        })
    }
}

/// What `/proc/PID/task/TID/schedstat` says, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SchedStat {
    pub(crate) run_ns: u64,
    pub(crate) queue_ns: u64,
}

impl SchedStat {
    pub(crate) fn parse(text: &str) -> Option<SchedStat> {
        let mut numbers = text.split_whitespace().map(str::parse);
        Some(SchedStat {
            run_ns: numbers.next()?.ok()?,
            queue_ns: numbers.next()?.ok()?,
        })
    }
}

/// The number behind `key:` in a text of lines such as `Threads:  3`.
pub(crate) fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key)
            .then(|| value.split_whitespace().next()?.parse().ok())
            .flatten()
    })
}

/// A line of `/proc/PID/maps` that belongs to a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mapping<'a> {
    pub(crate) start: u64,
    pub(crate) offset: u64,
    pub(crate) path: &'a str,
}

/// The mappings of files, in their order.
pub(crate) fn mappings(maps: &str) -> impl Iterator<Item = Mapping<'_>> {
    maps.lines().filter_map(|line| {
        let mut fields = line.splitn(6, ' ');
        let (start, _) = fields.next()?.split_once('-')?;
        let offset = fields.nth(1)?;
        let path = fields.nth(2)?.trim_start();
        Some(Mapping {
            start: u64::from_str_radix(start, 16).ok()?,
            offset: u64::from_str_radix(offset, 16).ok()?,
            path: Some(path).filter(|path| path.starts_with('/'))?,
        })
    })
}

/// The text without what a terminal might obey.
pub(crate) fn clean(text: &str) -> String {
    let printable = |c: char| if c.is_control() { '?' } else { c };
    text.trim_end_matches('\n').chars().map(printable).collect()
}

/// The name of a scheduling class.
pub(crate) fn class_name(policy: u32) -> &'static str {
    match policy {
        0 => "other",
        1 => "fifo",
        2 => "rr",
        3 => "batch",
        5 => "idle",
        6 => "deadline",
        7 => "ext",
        _ => "?",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "42 (a) b (c) S 1 42 42 0 -1 4194304 9 0 0 0 11 22 3 4 20 -5 2 0 777 1 2 3 \
                        4 5 6 7 8 9 10 11 12 13 14 15 17 1 50 2 66 0 0";

    #[test]
    fn a_name_with_parentheses_and_spaces_moves_no_field() {
        let stat = Stat::parse(LINE).unwrap();
        assert_eq!(
            (stat.name.as_str(), stat.state, stat.parent),
            ("a) b (c", 'S', 1)
        );
        assert_eq!(
            (stat.user_ticks, stat.system_ticks, stat.child_ticks),
            (11, 22, 7)
        );
        assert_eq!((stat.nice, stat.started_ticks), (-5, 777));
        assert_eq!((stat.cpu, stat.rt_priority, stat.policy), (Some(1), 50, 2));
        assert_eq!(stat.io_ticks, Some(66));
    }

    #[test]
    fn a_text_cut_anywhere_is_refused_or_read_and_never_a_panic() {
        for end in 0..LINE.len() {
            let _ = Stat::parse(&LINE[..end]);
        }
        assert_eq!(Stat::parse("1 ) S ("), None);
        assert_eq!(SchedStat::parse("12"), None);
        assert_eq!(keyed("Threads:", "Threads"), None);
    }

    #[test]
    fn keys_are_found_whole() {
        let status = "nonvoluntary_ctxt_switches:\t7\nvoluntary_ctxt_switches:\t3\nUid:\t0\t1\n";
        assert_eq!(keyed(status, "voluntary_ctxt_switches"), Some(3));
        assert_eq!(keyed(status, "Uid"), Some(0));
        assert_eq!(keyed(status, "ctxt_switches"), None);
    }

    #[test]
    fn mappings_of_files_keep_spaces_in_their_names() {
        let maps = "5500-5600 r-xp 00001000 fe:00 123    /opt/my prog (deleted)\n\
                    7f00-7f10 rw-p 00000000 00:00 0 \n7f20-7f30 rw-p 00000000 00:00 0 [heap]\n";
        let found: Vec<_> = mappings(maps).collect();
        let mapping = Mapping {
            start: 0x5500,
            offset: 0x1000,
            path: "/opt/my prog (deleted)",
        };
        assert_eq!(found, [mapping]);
    }

    #[test]
    fn a_name_cannot_move_the_cursor() {
        assert_eq!(clean("evil\x1b[2J\n"), "evil?[2J");
    }
}
