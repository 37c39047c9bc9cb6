//! How a run tells its caller where it is, without knowing what a terminal is.

/// Receives the progress of a run of one experiment.
///
/// The calls come from one thread, in this order: `started`, then for each run of an arm `running`
/// and `advanced`, then `finished`. `finished` comes even when the run is cancelled.
pub trait Progress {
    /// An experiment begins that consists of `runs` runs of arms.
    fn started(&self, experiment: &str, runs: u64);
    /// The arm named `arm` runs now.
    fn running(&self, arm: &str);
    /// One more run is over.
    fn advanced(&self);
    /// The experiment is over.
    fn finished(&self);
}

/// Progress that goes nowhere.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn started(&self, _experiment: &str, _runs: u64) {}
    fn running(&self, _arm: &str) {}
    fn advanced(&self) {}
    fn finished(&self) {}
}
