//! The units of systemd.

use crate::read;

/// What a process keeps is not for all users of its machine.
#[test]
fn units_keep_to_themselves_what_they_have() -> anyhow::Result<()> {
    for unit in ["systemd/skald.service", "systemd/skald@.service"] {
        let text = read(unit)?;
        for line in ["UMask=0077", "StateDirectoryMode=0750"] {
            assert!(text.lines().any(|one| one == line), "{unit}: {line}");
        }
    }
    Ok(())
}
