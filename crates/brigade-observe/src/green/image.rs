//! Where the header is: in the file of the program, and from there in the memory of the process.

use std::fs::File;
use std::io;

use brigade_event::outside::SECTION;
use object::elf::{FileHeader64, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};
use object::{Endianness, ReadCache, ReadRef};

use crate::proc_text::mappings;
use crate::source::Source;

/// The address of the header in the process; none if its program has no such section.
///
/// # Errors
///
/// The kernel refuses, or the process is gone.
pub(crate) fn header_address(source: &Source, pid: u32) -> io::Result<Option<u64>> {
    let directory = source.process(pid);
    let path = std::fs::read_link(directory.join("exe"))?;
    let file = File::open(directory.join("exe"))?;
    let Some(image) = read_image(file) else {
        return Ok(None);
    };
    let maps = source.text(&directory.join("maps"))?;
    // The kernel writes a line end in a name so.
    let path = path.to_string_lossy().replace('\n', "\\012");
    Ok(load_bias(&image.segments, &maps, &path).map(|bias| bias.wrapping_add(image.section)))
}

/// What the file says.
struct Image {
    /// Address of the section, as linked.
    section: u64,
    segments: Vec<Segment>,
}

/// A part of the file that is loaded.
#[derive(Clone, Copy)]
struct Segment {
    offset: u64,
    address: u64,
}

/// No program has more sections, or more segments. A file may claim more, which are then not read: a sparse one can be
/// larger than the memory.
const MOST_HEADERS: usize = 1 << 16;

/// Reads the tables of sections and segments, and nothing else: the other ones of a program may be large.
fn read_image(file: File) -> Option<Image> {
    let cache = ReadCache::new(file);
    let data = &cache;
    let header = FileHeader64::<Endianness>::parse(data).ok()?;
    let endian = header.endian().ok()?;
    let counts = [header.shnum(endian, data), header.phnum(endian, data)];
    if !counts
        .iter()
        .all(|count| matches!(count, Ok(..=MOST_HEADERS)))
    {
        return None;
    }
    let sections = header.sections(endian, data).ok()?;
    let (_, section) = sections.section_by_name(endian, SECTION.as_bytes())?;
    Some(Image {
        section: section.sh_addr(endian),
        segments: segments(header, endian, data)?,
    })
}

fn segments<'data>(
    header: &FileHeader64<Endianness>,
    endian: Endianness,
    data: impl ReadRef<'data>,
) -> Option<Vec<Segment>> {
    let all = header.program_headers(endian, data).ok()?;
    let loaded = all
        .iter()
        .filter(|segment| segment.p_type(endian) == PT_LOAD);
    let segment = |segment: &object::elf::ProgramHeader64<_>| Segment {
        offset: segment.p_offset(endian),
        address: segment.p_vaddr(endian),
    };
    Some(loaded.map(segment).collect())
}

/// The distance between the addresses in the file and those in the process. Segments begin inside pages, mappings at
/// their beginnings.
fn load_bias(segments: &[Segment], maps: &str, path: &str) -> Option<u64> {
    const PAGE: u64 = 4096;
    mappings(maps)
        .filter(|mapping| mapping.path == path)
        .find_map(|mapping| {
            let segment = segments
                .iter()
                .find(|segment| segment.offset / PAGE * PAGE == mapping.offset)?;
            let linked = segment.address.wrapping_sub(segment.offset % PAGE);
            Some(mapping.start.wrapping_sub(linked))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of 8 TiB, as an attacker makes one: nearly all of it is a hole.
    const SPARSE_BYTES: u64 = 8 << 40;

    /// The file of this test, made so large, with these bytes written over it.
    fn changed_program(bytes: u64, at: u64, with: &[u8]) -> File {
        use std::os::unix::fs::FileExt;
        let mut program = File::open("/proc/self/exe").unwrap();
        let mut file = tempfile::tempfile().unwrap();
        io::copy(&mut program, &mut file).unwrap();
        file.set_len(bytes).unwrap();
        file.write_all_at(with, at).unwrap();
        file
    }

    #[test]
    fn a_file_that_claims_billions_of_segments_is_not_read_on() {
        // `e_phnum` of 0xffff: the number is in `sh_info` of the first section, which is put at 4 KiB.
        let mut first = [0_u8; 64];
        first[44..48].copy_from_slice(&u32::MAX.to_le_bytes());
        let file = changed_program(SPARSE_BYTES, 4096, &first);
        use std::os::unix::fs::FileExt;
        file.write_all_at(&4096_u64.to_le_bytes(), 40).unwrap();
        file.write_all_at(&0xffff_u16.to_le_bytes(), 56).unwrap();
        let claimed = {
            let cache = ReadCache::new(file.try_clone().unwrap());
            let header = FileHeader64::<Endianness>::parse(&cache).unwrap();
            header.phnum(Endianness::Little, &cache).unwrap()
        };
        assert_eq!(claimed, u32::MAX as usize, "the plant is not read as meant");
        assert!(read_image(file).is_none());
    }

    #[test]
    fn the_bias_is_that_of_the_segment_and_not_of_the_first_mapping() {
        let segments = [
            Segment {
                offset: 0,
                address: 0,
            },
            Segment {
                offset: 0x2345,
                address: 0x3345,
            },
        ];
        let maps = "7000-8000 r--p 00000000 fe:00 1 /lib/other\n\
                    555500003000-555500004000 r-xp 00002000 fe:00 2 /opt/prog\n";
        assert_eq!(
            load_bias(&segments, maps, "/opt/prog"),
            Some(0x5555_0000_0000)
        );
        assert_eq!(load_bias(&segments, maps, "/opt/else"), None);
    }
}
