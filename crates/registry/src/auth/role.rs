//! What roles and permissions allow.

use serde::{Deserialize, Serialize};

/// What can be done with a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Action {
    Pull,
    Push,
    Delete,
}

impl Action {
    pub(crate) const ALL: [Self; 3] = [Self::Pull, Self::Push, Self::Delete];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
        }
    }
}

/// What a member of a project is. The names are Harbor's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    LimitedGuest,
    Guest,
    Developer,
    Maintainer,
    ProjectAdmin,
}

impl Role {
    const ALL: [(Self, &'static str); 5] = [
        (Self::ProjectAdmin, "projectAdmin"),
        (Self::Developer, "developer"),
        (Self::Guest, "guest"),
        (Self::Maintainer, "maintainer"),
        (Self::LimitedGuest, "limitedGuest"),
    ];

    pub(crate) fn parse(name: &str) -> Option<Self> {
        let found = Self::ALL.into_iter().find(|(_, known)| *known == name);
        found.map(|(role, _)| role)
    }

    pub(crate) fn allows(self, action: Action) -> bool {
        match action {
            Action::Pull => true,
            Action::Push => self >= Self::Developer,
            Action::Delete => self >= Self::Maintainer,
        }
    }
}

/// What a robot may do, in one project or in all (`*`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Permission {
    pub(crate) project: String,
    pub(crate) actions: Vec<Action>,
}

impl Permission {
    pub(crate) fn allows(&self, project: &str, action: Action) -> bool {
        (self.project == "*" || self.project == project) && self.actions.contains(&action)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_allow_more_and_more() {
        let allowed = |role: Role| Action::ALL.map(|action| role.allows(action));
        assert_eq!(allowed(Role::Guest), [true, false, false]);
        assert_eq!(allowed(Role::Developer), [true, true, false]);
        assert_eq!(allowed(Role::Maintainer), [true, true, true]);
        for (role, name) in Role::ALL {
            assert_eq!(Role::parse(name), Some(role));
        }
    }

    #[test]
    fn a_robot_has_what_it_was_given() {
        let permission = Permission {
            project: "a".to_owned(),
            actions: vec![Action::Pull],
        };
        assert!(permission.allows("a", Action::Pull));
        assert!(!permission.allows("a", Action::Push));
        assert!(!permission.allows("b", Action::Pull));
    }
}
