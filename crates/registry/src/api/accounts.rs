//! Accounts of people.

use axum::Json;
use axum::extract::Path;
use http::StatusCode;
use http::header::LOCATION;
use serde::Deserialize;
use serde_json::json;

use super::{Admin, Body, Operations, Outcome, PREFIX, wrong};
use crate::auth::{self, Caller, ROBOT_PREFIX};
use crate::error::Error;
use crate::meta::{AccountFate, CreateAccount, UpdateAccount};

/// Characters of the shortest password.
const PASSWORD_CHARS_MIN: usize = 8;
/// Bytes of the longest password, and of the longest name.
const PASSWORD_BYTES_MAX: usize = 256;

/// What can be done with accounts.
pub(super) fn operations(all: Operations) -> Operations {
    let (admin, disabled) = ("/users/{id}/sysadmin", "/users/{id}/disabled");
    all.get("/users", "Accounts", list)
        .make("/users", "Make an account", create)
        .get("/users/current", "The caller's account", current)
        .delete("/users/{id}", "Remove an account", delete)
        .put("/users/{id}/password", "Change a password", set_password)
        .put(admin, "Make an account an administrator, or not", set_admin)
        .put(disabled, "Disable an account, or enable it", set_disabled)
}

/// A new account.
#[derive(Debug, Deserialize)]
struct Request {
    username: String,
    password: String,
    #[serde(default)]
    sysadmin_flag: bool,
}

async fn hashed(password: String) -> Result<String, Error> {
    if password.chars().count() < PASSWORD_CHARS_MIN || password.len() > PASSWORD_BYTES_MAX {
        return Err(wrong(
            "a password has 8 characters or more, and at most 256 bytes",
        ));
    }
    let hashed = tokio::task::spawn_blocking(move || auth::hash(&password)).await;
    hashed.map_err(|error| Error::internal("hashing the password", &error))?
}

async fn list(admin: Admin) -> Outcome {
    let listed = async {
        admin.require_admin()?;
        Ok(Json(admin.registry.meta().accounts().await?))
    };
    let listed = listed.await;
    admin.outcome(listed)
}

async fn create(admin: Admin, Body(request): Body<Request>) -> Outcome {
    let created = async {
        admin.require_admin()?;
        let name = request.username;
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"._-@".contains(&b);
        let is_name = !name.is_empty() && name.len() <= 128 && name.bytes().all(is_plain);
        if !is_name || name.starts_with(ROBOT_PREFIX) {
            return Err(wrong(
                "a user's name is letters, digits, `.`, `_`, `-` and `@`",
            ));
        }
        let create = CreateAccount {
            who: admin.who(),
            name,
            password: hashed(request.password).await?,
            is_admin: request.sysadmin_flag,
            only_first_admin: false,
        };
        let id = admin.registry.meta().change(create).await?;
        let location = id.map(|id| [(LOCATION, format!("{PREFIX}/users/{id}"))]);
        Ok((StatusCode::CREATED, location, Json(json!({"user_id": id}))))
    };
    let created = created.await;
    admin.outcome(created)
}

async fn current(admin: Admin) -> Outcome {
    let id = match &admin.caller {
        Caller::Account(account) => Some(account.id),
        _ => None,
    };
    admin.outcome(Ok(Json(json!({
        "user_id": id,
        "username": admin.caller.name(),
        "sysadmin_flag": admin.caller.is_admin(),
    }))))
}

async fn update(admin: &Admin, id: i64, fate: AccountFate) -> Result<(), Error> {
    let who = admin.who();
    admin
        .registry
        .meta()
        .change(UpdateAccount { who, id, fate })
        .await
}

async fn delete(admin: Admin, Path(id): Path<i64>) -> Outcome {
    let done = async {
        admin.require_admin()?;
        update(&admin, id, AccountFate::Delete).await
    };
    let done = done.await;
    admin.outcome(done)
}

/// Another password.
#[derive(Debug, Deserialize)]
struct NewPassword {
    new_password: String,
}

/// One's own, or as an administrator anybody's.
async fn set_password(
    admin: Admin,
    Path(id): Path<i64>,
    Body(request): Body<NewPassword>,
) -> Outcome {
    let done = async {
        let is_own = matches!(&admin.caller, Caller::Account(account) if account.id == id);
        if !is_own {
            admin.require_admin()?;
        }
        let hash = hashed(request.new_password).await?;
        update(&admin, id, AccountFate::Password(hash)).await
    };
    let done = done.await;
    admin.outcome(done)
}

/// Whether somebody is an administrator.
#[derive(Debug, Deserialize)]
struct AdminFlag {
    sysadmin_flag: bool,
}

async fn set_admin(admin: Admin, Path(id): Path<i64>, Body(request): Body<AdminFlag>) -> Outcome {
    let done = async {
        admin.require_admin()?;
        update(&admin, id, AccountFate::Admin(request.sysadmin_flag)).await
    };
    let done = done.await;
    admin.outcome(done)
}

/// Whether an account may not be used.
#[derive(Debug, Deserialize)]
struct DisabledFlag {
    disabled: bool,
}

async fn set_disabled(
    admin: Admin,
    Path(id): Path<i64>,
    Body(request): Body<DisabledFlag>,
) -> Outcome {
    let done = async {
        admin.require_admin()?;
        update(&admin, id, AccountFate::Disable(request.disabled)).await
    };
    let done = done.await;
    admin.outcome(done)
}
