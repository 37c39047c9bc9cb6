//! The M:N scheduler of Brigade.
