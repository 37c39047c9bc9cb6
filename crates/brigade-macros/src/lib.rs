//! The attribute macro of Brigade.
