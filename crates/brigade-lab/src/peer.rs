//! The far end of a connection, in a process of its own.
//!
//! A server measured inside its client's process would share its memory, its threads and its switches
//! with it. So an arm that needs a server starts this program once more, as a *role* of the same
//! experiment, and talks to it through a socket. The arm binds the listening socket and the peer
//! inherits it as its standard input: connecting works before the peer runs, and no port is guessed or
//! passed on.
//!
//! # Invariants
//!
//! 1. No peer outlives its arm: it is killed and waited for when [`Peer`] is dropped, and killed by the
//!    kernel when the arm is killed.
//! 2. [`Peer::start`] returns after the peer has asked for that. An arm that dies before is noticed by
//!    the peer: the pipe that it says "ready" into has no reader then.
//! 3. Only one thread starts peers, the first one of the arm: the kernel takes the death of the thread
//!    that started a process for the death of its parent.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use crate::experiment::{ArmError, Experiment, Scale};

/// What stands before the name of a role where the name of an arm is expected.
const MARK: &str = "peer-";

/// Arguments at the end of the command line of an arm: the experiment, the arm and the scale.
const OWN_ARGUMENTS: usize = 3;

/// A running peer.
pub(crate) struct Peer {
    process: Child,
    address: SocketAddr,
}

impl Peer {
    /// Starts a process that plays `role` of the experiment named `experiment`, and waits until it is
    /// ready. Only in a process that runs an arm: the new one gets the same arguments, with the role in
    /// place of the arm.
    ///
    /// # Errors
    ///
    /// Failed if there is no socket, or if the process cannot be started or ends at once.
    pub(crate) fn start(experiment: &str, role: &str, scale: Scale) -> Result<Self, ArmError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
        let prefix = arguments.len().saturating_sub(OWN_ARGUMENTS);
        let mut process = Command::new("/proc/self/exe")
            .arg0("brigade-peer")
            .args(&arguments[..prefix])
            .args([experiment, &format!("{MARK}{role}"), scale.name()])
            .stdin(OwnedFd::from(listener))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let ready = process.stdout.take().map(|mut pipe| {
            let mut word = [0; READY.len()];
            pipe.read_exact(&mut word).map(|()| pipe)
        });
        let peer = Self { process, address };
        match ready {
            Some(Ok(_)) => Ok(peer),
            _ => Err(ArmError::Failed(format!("the peer {role} did not start"))),
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // An error here means that the peer is gone already, which is what is wanted.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const READY: &[u8] = b"ready\n";

/// The role that is asked for where the name of an arm is expected.
pub(crate) fn role_of(arm: &str) -> Option<&str> {
    arm.strip_prefix(MARK)
}

/// Plays `role` of `experiment` in this process, which exists for it alone.
///
/// # Errors
///
/// Those of the role; it ends only with an error or with the process.
pub(crate) fn play(experiment: &dyn Experiment, role: &str) -> Result<(), ArmError> {
    let listener = TcpListener::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut out = io::stdout();
    out.write_all(READY)?;
    out.flush()?;
    experiment.serve(role, listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_arm_of_an_experiment_is_taken_for_a_role() {
        assert_eq!(role_of("peer-echo"), Some("echo"));
        for experiment in crate::all() {
            for arm in experiment.arms(Scale::Full) {
                assert_eq!(role_of(arm.key), None);
            }
        }
    }
}
