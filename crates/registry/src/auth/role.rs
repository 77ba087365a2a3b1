//! What roles and permissions allow.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What can be done with a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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

/// What a member of a project is. The names and numbers are Harbor's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Role {
    LimitedGuest,
    Guest,
    Developer,
    Maintainer,
    ProjectAdmin,
}

impl Role {
    const ALL: [(Self, i64, &'static str); 5] = [
        (Self::ProjectAdmin, 1, "projectAdmin"),
        (Self::Developer, 2, "developer"),
        (Self::Guest, 3, "guest"),
        (Self::Maintainer, 4, "maintainer"),
        (Self::LimitedGuest, 5, "limitedGuest"),
    ];

    pub(crate) fn parse(name: &str) -> Option<Self> {
        let found = Self::ALL.into_iter().find(|(_, _, known)| *known == name);
        found.map(|(role, _, _)| role)
    }

    pub(crate) fn of_number(number: i64) -> Option<Self> {
        let found = Self::ALL.into_iter().find(|(_, known, _)| *known == number);
        found.map(|(role, _, _)| role)
    }

    pub(crate) fn name(self) -> &'static str {
        let found = Self::ALL.into_iter().find(|(role, _, _)| *role == self);
        found.map_or("guest", |(_, _, name)| name)
    }

    pub(crate) fn number(self) -> i64 {
        let found = Self::ALL.into_iter().find(|(role, _, _)| *role == self);
        found.map_or(3, |(_, number, _)| number)
    }

    /// The weakest role that may do something.
    pub(crate) fn least(action: Action) -> Self {
        match action {
            Action::Pull => Self::LimitedGuest,
            Action::Push => Self::Developer,
            Action::Delete => Self::Maintainer,
        }
    }

    pub(crate) fn allows(self, action: Action) -> bool {
        self >= Self::least(action)
    }
}

/// What a robot was given in Harbor's words, of which several may be one action here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Access")]
pub(crate) struct Said {
    pub(crate) resource: String,
    pub(crate) action: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) effect: Option<String>,
}

impl Said {
    pub(crate) fn new(resource: &str, action: &str) -> Self {
        Self {
            resource: resource.to_owned(),
            action: action.to_owned(),
            effect: None,
        }
    }

    /// Whether it is this that is given: a resource, and what may be done with it.
    pub(crate) fn is(&self, (resource, action): (&str, &str)) -> bool {
        let effect = self.effect.as_deref();
        effect.is_none_or(|effect| effect == "allow")
            && (self.resource.as_str(), self.action.as_str()) == (resource, action)
    }
}

/// What stands for a project's name in what a robot may do with the registry as a whole, as in Harbor.
pub(crate) const SYSTEM: &str = "/";

/// What a robot may do, in one project, in all (`*`), or with the registry as a whole (`/`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Permission {
    pub(crate) project: String,
    pub(crate) actions: Vec<Action>,
    /// How that was said; nothing if it was in our words. With the registry as a whole it is all there is.
    #[serde(skip)]
    pub(crate) access: Vec<Said>,
}

impl Permission {
    pub(crate) fn allows(&self, project: &str, action: Action) -> bool {
        (self.project == "*" || self.project == project) && self.actions.contains(&action)
    }

    /// Whether it is about the registry as a whole.
    pub(crate) fn is_system(&self) -> bool {
        self.project == SYSTEM
    }

    /// Whether it allows this with the registry as a whole.
    pub(crate) fn gives(&self, access: (&str, &str)) -> bool {
        self.is_system() && self.access.iter().any(|said| said.is(access))
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
        for (role, number, name) in Role::ALL {
            assert_eq!(Role::parse(name), Some(role));
            assert_eq!(Role::of_number(number), Some(role));
            assert_eq!((role.number(), role.name()), (number, name));
        }
    }

    #[test]
    fn a_robot_has_what_it_was_given() {
        let permission = Permission {
            project: "a".to_owned(),
            actions: vec![Action::Pull],
            access: Vec::new(),
        };
        assert!(permission.allows("a", Action::Pull));
        assert!(!permission.allows("a", Action::Push));
        assert!(!permission.allows("b", Action::Pull));
        let (runs, other) = (("running", "update"), ("running", "delete"));
        let of = |project: &str| Permission {
            project: project.to_owned(),
            actions: Vec::new(),
            access: vec![Said::new(runs.0, runs.1)],
        };
        assert!(of(SYSTEM).gives(runs) && !of(SYSTEM).gives(other));
        assert!(!of("a").gives(runs) && !of("*").gives(runs));
        assert!(!of(SYSTEM).allows(SYSTEM, Action::Pull));
    }
}
