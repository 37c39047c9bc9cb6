//! Where the header is: in the file of the program, and from there in the memory of the process.

use std::fs::File;
use std::io;

use brigade_event::outside::SECTION;
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Object, ObjectSection, ReadCache, ReadRef};

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
    let path = path.to_string_lossy();
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

fn read_image(file: File) -> Option<Image> {
    let cache = ReadCache::new(file);
    let elf = object::File::parse(&cache).ok()?;
    let section = elf.section_by_name(SECTION)?.address();
    Some(Image {
        section,
        segments: segments(&cache)?,
    })
}

fn segments<'data>(data: impl ReadRef<'data>) -> Option<Vec<Segment>> {
    let header = object::elf::FileHeader64::<object::Endianness>::parse(data).ok()?;
    let endian = header.endian().ok()?;
    let loaded = header
        .program_headers(endian, data)
        .ok()?
        .iter()
        .filter(|segment| segment.p_type(endian) == object::elf::PT_LOAD);
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
