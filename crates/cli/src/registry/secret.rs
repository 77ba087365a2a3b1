//! Passwords, each a line of standard input. Whoever types one is asked for it, and nobody sees it.

use std::io::{self, IsTerminal, Write};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::error::CliError;

/// The next line, which has to have a password.
pub(super) fn password() -> Result<String, CliError> {
    let missing = || CliError::Usage("no password on standard input".to_owned());
    line("Password")?.ok_or_else(missing)
}

/// The next line, if there is one and it is not empty; at a terminal it is asked for as `what`.
pub(super) fn line(what: &str) -> Result<Option<String>, CliError> {
    let _hidden = match io::stdin().is_terminal() {
        true => Some(Hidden::begin(what)?),
        false => None,
    };
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    let line = line.trim_end_matches(['\r', '\n']);
    Ok(Some(line)
        .filter(|line| !line.is_empty())
        .map(str::to_owned))
}

/// A terminal that does not show what is typed; it is as before when this is dropped.
struct Hidden {
    before: Termios,
}

impl Hidden {
    fn begin(what: &str) -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        // What is asked next begins a line.
        hidden.local_modes.insert(LocalModes::ECHONL);
        tcsetattr(io::stdin(), OptionalActions::Drain, &hidden)?;
        let mut stderr = anstream::stderr();
        write!(stderr, "{what}: ")?;
        stderr.flush()?;
        Ok(Self { before })
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // There is nobody to tell.
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &self.before);
    }
}
