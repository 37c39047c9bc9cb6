//! Libraries loaded at run time.

use std::ffi::{CStr, CString, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A loaded library; it is never unloaded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Library(*mut c_void);

// SAFETY: a handle of dlopen may be used by any thread.
unsafe impl Send for Library {}
// SAFETY: as above; dlsym may be called by several threads at once.
unsafe impl Sync for Library {}

impl Library {
    /// Loads a library, or panics with the loader's message.
    #[track_caller]
    pub(crate) fn load(path: &Path) -> Library {
        Library::try_load(path).unwrap_or_else(|message| panic!("{message}"))
    }

    /// Loads a library, or returns the loader's message.
    pub(crate) fn try_load(path: &Path) -> Result<Library, String> {
        let path = CString::new(path.as_os_str().as_bytes()).expect("no zero byte in a path");
        // SAFETY: the path is a valid string, and the libraries of the tests run no code when they are loaded.
        let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) };
        if handle.is_null() {
            // SAFETY: dlopen has just failed on this thread, so dlerror returns a valid string.
            let message = unsafe { CStr::from_ptr(libc::dlerror()) };
            return Err(message.to_string_lossy().into_owned());
        }
        Ok(Library(handle))
    }

    /// The address of an exported function.
    #[track_caller]
    fn address(self, name: &CStr) -> *mut c_void {
        // SAFETY: the library is never unloaded and the name is a valid string.
        let address = unsafe { libc::dlsym(self.0, name.as_ptr()) };
        assert!(!address.is_null(), "the library exports no {name:?}");
        address
    }

    /// Calls an exported `T name(void)`.
    ///
    /// # Safety
    ///
    /// The library exports `name` as a function without arguments that returns a `T`.
    #[track_caller]
    pub(crate) unsafe fn call<T>(self, name: &CStr) -> T {
        // SAFETY: the caller promises this type.
        let function: extern "C" fn() -> T = unsafe { std::mem::transmute(self.address(name)) };
        function()
    }

    /// Calls an exported `T name(void (*)(void))`.
    ///
    /// # Safety
    ///
    /// The library exports `name` as a function that takes a callback and returns a `T`.
    #[track_caller]
    pub(crate) unsafe fn call_with<T>(self, name: &CStr, callback: extern "C" fn()) -> T {
        // SAFETY: the caller promises this type.
        let function: extern "C" fn(extern "C" fn()) -> T =
            unsafe { std::mem::transmute(self.address(name)) };
        function(callback)
    }

    /// Calls an exported `T name(int, void (*)(void))`.
    ///
    /// # Safety
    ///
    /// The library exports `name` as a function that takes a number and a callback and returns a `T`.
    #[track_caller]
    pub(crate) unsafe fn call_number_with<T>(
        self,
        name: &CStr,
        number: i32,
        callback: extern "C" fn(),
    ) -> T {
        // SAFETY: the caller promises this type.
        let function: extern "C" fn(i32, extern "C" fn()) -> T =
            unsafe { std::mem::transmute(self.address(name)) };
        function(number, callback)
    }
}
