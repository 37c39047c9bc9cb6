//! An allocator whose caches belong to carriers.
