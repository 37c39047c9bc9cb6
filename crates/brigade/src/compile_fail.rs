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
//!
//! # A guard stays on its thread
//!
//! ```
//! use brigade::sync::{Mutex, MutexGuard, RwLock};
//!
//! let (mutex, lock) = (Mutex::new((1, 2)), RwLock::new(3));
//! let (guard, reader) = (mutex.lock().unwrap(), lock.read().unwrap());
//! let part = MutexGuard::map(guard, |pair| &mut pair.1);
//! let sum = brigade::thread::scope(|scope| scope.spawn(|| *part + *reader).join().unwrap());
//! assert_eq!(sum, 5);
//! ```
//!
//! ```compile_fail,E0277
//! let mutex = brigade::sync::Mutex::new(1);
//! let guard = mutex.lock().unwrap();
//! brigade::thread::scope(|scope| scope.spawn(move || *guard).join().unwrap());
//! ```
//!
//! ```compile_fail,E0277
//! let mutex = brigade::sync::Mutex::new((1, 2));
//! let guard = mutex.lock().unwrap();
//! let part = brigade::sync::MutexGuard::map(guard, |pair| &mut pair.1);
//! brigade::thread::scope(|scope| scope.spawn(move || *part).join().unwrap());
//! ```
//!
//! ```compile_fail,E0277
//! let lock = brigade::sync::RwLock::new(1);
//! let reader = lock.read().unwrap();
//! brigade::thread::scope(|scope| scope.spawn(move || *reader).join().unwrap());
//! ```
//!
//! ```compile_fail,E0277
//! let lock = brigade::sync::RwLock::new(1);
//! let writer = lock.write().unwrap();
//! brigade::thread::scope(|scope| scope.spawn(move || *writer).join().unwrap());
//! ```
//!
//! # What a lock protects does not outlive the guard
//!
//! ```
//! let mutex = brigade::sync::Mutex::new(String::new());
//! let guard = mutex.lock().unwrap();
//! let text: &str = &guard;
//! assert!(text.is_empty());
//! drop(guard);
//! ```
//!
//! ```compile_fail,E0505
//! let mutex = brigade::sync::Mutex::new(String::new());
//! let guard = mutex.lock().unwrap();
//! let text: &str = &guard;
//! drop(guard);
//! assert!(text.is_empty());
//! ```
//!
//! # A mutex lends what can be sent, a lock for readers also what can be shared
//!
//! ```
//! use brigade::sync::{Mutex, RwLock};
//!
//! let (mutex, lock) = (Mutex::new(std::cell::Cell::new(1)), RwLock::new(1));
//! let sum = brigade::thread::scope(|scope| {
//!     let thread = scope.spawn(|| mutex.lock().unwrap().get() + *lock.read().unwrap());
//!     thread.join().unwrap()
//! });
//! assert_eq!(sum, 2);
//! ```
//!
//! ```compile_fail,E0277
//! let mutex = brigade::sync::Mutex::new(std::rc::Rc::new(1));
//! brigade::thread::scope(|scope| scope.spawn(|| **mutex.lock().unwrap()).join().unwrap());
//! ```
//!
//! ```compile_fail,E0277
//! let lock = brigade::sync::RwLock::new(std::cell::Cell::new(1));
//! brigade::thread::scope(|scope| scope.spawn(|| lock.read().unwrap().get()).join().unwrap());
//! ```
