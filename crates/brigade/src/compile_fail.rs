//! Programs that the public API must refuse to compile, each beside a twin that compiles.
//!
//! A good twin that differs in one word shows that the bad one fails for the reason named by its error code.
//!
//! # What goes into `spawn` must be `Send`
//!
//! ```
//! let shared = std::sync::Arc::new(1);
//! assert_eq!(brigade::thread::spawn(move || *shared).join().unwrap(), 1);
//! ```
//!
//! ```compile_fail,E0277
//! let shared = std::rc::Rc::new(1);
//! assert_eq!(brigade::thread::spawn(move || *shared).join().unwrap(), 1);
//! ```
//!
//! # What comes out of `spawn` must be `Send`
//!
//! ```
//! let handle = brigade::thread::spawn(|| std::sync::Arc::new(1));
//! assert_eq!(*handle.join().unwrap(), 1);
//! ```
//!
//! ```compile_fail,E0277
//! let handle = brigade::thread::spawn(|| std::rc::Rc::new(1));
//! assert_eq!(*handle.join().unwrap(), 1);
//! ```
//!
//! # `spawn` borrows nothing from its caller's frame
//!
//! ```
//! let number = 1;
//! let handle = brigade::thread::spawn(move || number);
//! assert_eq!(handle.join().unwrap(), 1);
//! ```
//!
//! ```compile_fail,E0373
//! let number = 1;
//! let handle = brigade::thread::spawn(|| number);
//! assert_eq!(handle.join().unwrap(), 1);
//! ```
//!
//! # `scope` borrows, but only what outlives the scope
//!
//! ```
//! let number = 1;
//! let sum = brigade::thread::scope(|scope| scope.spawn(|| number + 1).join().unwrap());
//! assert_eq!(sum, 2);
//! ```
//!
//! ```compile_fail,E0373
//! brigade::thread::scope(|scope| {
//!     let number = 1;
//!     scope.spawn(|| number + 1);
//! });
//! ```
//!
//! ```compile_fail,E0277
//! let number = std::rc::Rc::new(1);
//! brigade::thread::scope(|scope| {
//!     scope.spawn(|| *number + 1);
//! });
//! ```
//!
//! # A scope's handle does not leave the scope
//!
//! ```compile_fail,E0521
//! let mut kept = None;
//! brigade::thread::scope(|scope| {
//!     kept = Some(scope.spawn(|| 1));
//! });
//! ```
//!
//! # What goes through `run` must be `Send`
//!
//! ```
//! let shared = std::sync::Arc::new(1);
//! assert_eq!(brigade::run(move || *shared), 1);
//! ```
//!
//! ```compile_fail,E0277
//! let shared = std::rc::Rc::new(1);
//! assert_eq!(brigade::run(move || *shared), 1);
//! ```
