//! Ordinary files, directories and devices.

use std::ptr;

use libc::c_int;

use super::calls::{Via, halves};
use super::objects::{c_path, directory_in};
use super::same;

/// A directory on a disk and one in memory, where the machine has them.
fn bases() -> Vec<String> {
    let disk = std::env::temp_dir().to_string_lossy().into_owned();
    let build = env!("CARGO_TARGET_TMPDIR").to_owned();
    [disk, build, "/dev/shm".to_owned()].into_iter().collect()
}

fn open(path: &std::path::Path, flags: c_int) -> c_int {
    // SAFETY: the path is a C string that outlives the call.
    let fd = unsafe { libc::open(c_path(path).as_ptr(), flags | libc::O_CLOEXEC, 0o600) };
    assert!(
        fd >= 0,
        "{}: {}",
        path.display(),
        std::io::Error::last_os_error()
    );
    fd
}

#[test]
fn ordinary_files() {
    same(|run| {
        for base in bases() {
            let directory = directory_in(&base);
            let path = directory.join("file");
            let fd = open(&path, libc::O_RDWR | libc::O_CREAT);
            let mut buffer = [0; 16];
            run.note((&base, "empty"), run.via.read_to(fd, &mut buffer));
            run.note("write", run.via.write_all_of(fd, b"0123456789"));
            run.note(
                "writev",
                run.via
                    .writev(fd, halves(&mut b"abcdef".to_owned()).as_ptr(), 2),
            );
            run.note("write nothing", run.via.write(fd, ptr::null(), 0));
            run.note("end", run.via.read_to(fd, &mut buffer));
            for at in [0, 3, 12, 16, 1 << 40, -1, i64::MIN] {
                run.note(
                    ("pread", at),
                    run.via.pread(fd, buffer.as_mut_ptr().cast(), 8, at),
                );
                run.note(
                    ("preadv", at),
                    run.via.preadv(fd, halves(&mut buffer).as_ptr(), 2, at),
                );
                run.note("bytes", buffer);
            }
            // SAFETY: the call takes numbers only, of descriptors that the script owns.
            unsafe { libc::lseek(fd, 14, libc::SEEK_SET) };
            run.note("short", run.via.read_to(fd, &mut buffer));
            run.note("end", run.via.readv(fd, halves(&mut buffer).as_ptr(), 2));
            // SAFETY: the call takes numbers only, of descriptors that the script owns.
            run.note("position", unsafe { libc::lseek(fd, 0, libc::SEEK_CUR) });
            run.note(
                "nowhere",
                run.via.pread(fd, ptr::without_provenance_mut(16), 8, 0),
            );
            run.note(
                "write from nowhere",
                run.via.write(fd, ptr::without_provenance(16), 8),
            );
            run.note("recv", run.via.recv_to(fd, &mut buffer, 0));
            run.note("send", run.via.send_all_of(fd, b"x", 0));
            run.note(
                "accept",
                run.via.accept4(fd, ptr::null_mut(), ptr::null_mut(), 0),
            );
            run.note("flags", Via::flags(fd));
            run.via.close(fd).expect("open");
            let fd = open(&path, libc::O_WRONLY | libc::O_APPEND);
            run.note("append", run.via.write_all_of(fd, b"more"));
            run.note("write only", run.via.read_to(fd, &mut buffer));
            run.via.close(fd).expect("open");
            let fd = open(&path, libc::O_RDONLY);
            run.note("read only", run.via.write_all_of(fd, b"x"));
            let mut all = [0; 64];
            run.note("all", run.via.read_to(fd, &mut all));
            run.note("bytes", String::from_utf8_lossy(&all));
            run.via.close(fd).expect("open");
            let fd = open(&path, libc::O_PATH);
            run.note("path", run.via.read_to(fd, &mut buffer));
            run.via.close(fd).expect("open");
            let fd = open(&directory, libc::O_RDONLY | libc::O_DIRECTORY);
            run.note("directory", run.via.read_to(fd, &mut buffer));
            run.note("directory, written", run.via.write_all_of(fd, b"x"));
            run.via.close(fd).expect("open");
            let _ = std::fs::remove_dir_all(&directory);
        }
    });
}

#[test]
fn devices_and_procfs() {
    same(|run| {
        for name in [
            "/dev/null",
            "/dev/zero",
            "/dev/full",
            "/proc/self/comm",
            "/proc/version",
        ] {
            let writable = name.starts_with("/dev");
            let flags = if writable {
                libc::O_RDWR
            } else {
                libc::O_RDONLY
            };
            let fd = open(std::path::Path::new(name), flags);
            let mut buffer = [1; 16];
            run.note((name, "nothing"), run.via.read(fd, ptr::null_mut(), 0));
            let read = run.via.read_to(fd, &mut buffer);
            // The name of the thread differs, and with it what is read.
            if name != "/proc/self/comm" {
                run.note((name, "read"), read);
                run.note("bytes", buffer);
            }
            run.note(
                (name, "pread"),
                run.via.pread(fd, buffer.as_mut_ptr().cast(), 0, 4),
            );
            run.note((name, "write"), run.via.write_all_of(fd, b"some"));
            run.note(
                (name, "writev"),
                run.via
                    .writev(fd, halves(&mut b"abcd".to_owned()).as_ptr(), 2),
            );
            run.note((name, "recv"), run.via.recv_to(fd, &mut buffer, 0));
            run.via.close(fd).expect("open");
        }
    });
}
