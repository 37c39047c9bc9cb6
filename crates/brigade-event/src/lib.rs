//! Wait reasons and counters of the Brigade runtime.
