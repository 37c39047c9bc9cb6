//! Green threads with the semantics of std::thread.
