//! Where there are no hooks, nothing is called.

use super::Call;

/// No calls.
pub(super) static CALLS: [Call; 0] = [];
