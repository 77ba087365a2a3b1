//! Accounts of people.

use axum::Json;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answers::{At, Created};
use super::query::{Asks, Page, Shorthand};
use super::{Admin, Body, Operations, Outcome, Path, answer, wrong};
use crate::auth::{self, ANONYMOUS, Caller, ROBOT_PREFIX};
use crate::error::{Code, Error};
use crate::meta::{
    ACCOUNT_COLUMNS, ACCOUNT_NAMES, AccountFate, AccountInfo, CreateAccount, Profile, UpdateAccount,
};

/// Characters of the shortest password.
const PASSWORD_CHARS_MIN: usize = 8;
/// Bytes of the longest password, and of the longest name.
const PASSWORD_BYTES_MAX: usize = 256;
/// Bytes of what an account says of its owner, each.
const PROFILE_BYTES_MAX: usize = 1024;

/// What can be done with accounts.
pub(super) fn operations(all: Operations) -> Operations {
    let (admin, disabled) = ("/users/{id}/sysadmin", "/users/{id}/disabled");
    let (user, password) = ("/users/{id}", "/users/{id}/password");
    let (secret, refused) = (
        "/users/{id}/cli_secret",
        "Refused: passwords are for all clients",
    );
    let search_by = "Accounts with ?username= in their names";
    let profile = "Change what an account says of its owner";
    let sysadmin = "Make an account an administrator, or not";
    let disable = "Disable an account, or enable it";
    all.about("user")
        .list("/users", "listUsers", "Accounts", &ACCOUNTS, list)
        .list("/users/search", "searchUsers", search_by, &SEARCH, search)
        .post("/users", "createUser", "Make an account", create)
        .get("/users/current", "getCurrentUserInfo", "Who asks", current)
        .get(user, "getUser", "An account", show)
        .put(user, "updateUserProfile", profile, set_profile)
        .delete(user, "deleteUser", "Remove an account", delete)
        .put(
            password,
            "updateUserPassword",
            "Change a password",
            set_password,
        )
        .put(secret, "setCliSecret", refused, set_cli_secret)
        .put(admin, "setUserSysAdmin", sysadmin, set_admin)
        .put(disabled, "setUserDisabled", disable, set_disabled)
}

const ACCOUNTS: Asks = Asks {
    columns: ACCOUNT_COLUMNS,
    filters: &[
        Shorthand::Part("username", "username"),
        Shorthand::Part("email", "email"),
    ],
    others: &[],
};
/// Who gives accounts roles learns of names and numbers only.
const SEARCH: Asks = Asks {
    columns: ACCOUNT_NAMES,
    filters: &[Shorthand::Part("username", "username")],
    others: &[],
};

/// A new account.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "UserCreationReq")]
struct Request {
    username: String,
    password: String,
    #[serde(default)]
    sysadmin_flag: bool,
    #[serde(flatten)]
    profile: Profile,
}

fn check(profile: &Profile) -> Result<(), Error> {
    let all = [&profile.email, &profile.realname, &profile.comment];
    match all.iter().all(|text| text.len() <= PROFILE_BYTES_MAX) {
        true => Ok(()),
        false => Err(wrong(format!(
            "email, realname and comment have at most {PROFILE_BYTES_MAX} bytes each"
        ))),
    }
}

async fn hashed(password: String) -> Result<String, Error> {
    if password.chars().count() < PASSWORD_CHARS_MIN || password.len() > PASSWORD_BYTES_MAX {
        return Err(wrong(
            "a password has 8 characters or more, and at most 256 bytes",
        ));
    }
    auth::hash(password).await
}

async fn list(admin: Admin) -> Outcome<Page<AccountInfo>> {
    answer(&admin, async {
        admin.require_admin()?;
        let listing = admin.listing(&ACCOUNTS)?;
        let accounts = admin.registry.meta().accounts(&listing).await?;
        Ok(admin.page(&listing, accounts))
    })
    .await
}

/// An account by its name and number.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "UserSearchRespItem")]
struct AccountName {
    user_id: i64,
    username: String,
}

/// Names and numbers, for who gives accounts roles.
async fn search(admin: Admin) -> Outcome<Page<AccountName>> {
    answer(&admin, async {
        if !matches!(admin.caller, Caller::Account(_)) {
            admin.require_admin()?;
        }
        let listing = admin.listing(&SEARCH)?;
        let found = admin.registry.meta().accounts(&listing).await?;
        let found = found.map(|one| AccountName {
            user_id: one.user_id,
            username: one.username,
        });
        Ok(admin.page(&listing, found))
    })
    .await
}

/// Refuses who is neither the owner of an account nor an administrator.
fn require_owner(admin: &Admin, id: i64) -> Result<(), Error> {
    match &admin.caller {
        Caller::Account(account) if account.id == id => Ok(()),
        _ => admin.require_admin(),
    }
}

async fn found(admin: &Admin, id: i64) -> Result<AccountInfo, Error> {
    require_owner(admin, id)?;
    let account = admin.registry.meta().account_info(id).await?;
    account.ok_or_else(|| Error::new(Code::NameUnknown, "there is no such account"))
}

async fn show(admin: Admin, Path(id): Path<i64>) -> Outcome<Json<AccountInfo>> {
    let shown = found(&admin, id).await.map(Json);
    admin.outcome(shown)
}

async fn set_profile(
    admin: Admin,
    Path(id): Path<i64>,
    Body(profile): Body<Profile>,
) -> Outcome<()> {
    answer(&admin, async {
        require_owner(&admin, id)?;
        check(&profile)?;
        update(&admin, id, AccountFate::Profile(profile)).await
    })
    .await
}

/// The number of a new account.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "NewUser")]
struct NewAccount {
    user_id: Option<i64>,
}

async fn create(
    admin: Admin,
    Body(request): Body<Request>,
) -> Outcome<Created<At<Json<NewAccount>>>> {
    answer(&admin, async {
        admin.require_admin()?;
        let name = request.username;
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"._-@".contains(&b);
        let is_name = !name.is_empty() && name.len() <= 128 && name.bytes().all(is_plain);
        if !is_name || name.starts_with(ROBOT_PREFIX) {
            return Err(wrong(
                "a user's name is letters, digits, `.`, `_`, `-` and `@`",
            ));
        }
        check(&request.profile)?;
        if name.eq_ignore_ascii_case(ANONYMOUS) {
            let message = format!("`{ANONYMOUS}` is nobody in particular, and nobody's name");
            return Err(wrong(message));
        }
        let create = CreateAccount {
            who: admin.who(),
            name,
            password: hashed(request.password).await?,
            is_admin: request.sysadmin_flag,
            profile: request.profile,
            only_first_admin: false,
        };
        let id = admin.registry.meta().change(create).await?;
        let path = id.map(|id| format!("/users/{id}"));
        Ok(Created(At(path, Json(NewAccount { user_id: id }))))
    })
    .await
}

/// Who asks.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "CurrentUser")]
struct CurrentAccount {
    /// None if it is no account.
    user_id: Option<i64>,
    username: String,
    sysadmin_flag: bool,
}

async fn current(admin: Admin) -> Outcome<Json<CurrentAccount>> {
    let id = match &admin.caller {
        Caller::Account(account) => Some(account.id),
        _ => None,
    };
    admin.outcome(Ok(Json(CurrentAccount {
        user_id: id,
        username: admin.caller.name().to_owned(),
        sysadmin_flag: admin.caller.is_admin(),
    })))
}

async fn update(admin: &Admin, id: i64, fate: AccountFate) -> Result<(), Error> {
    let who = admin.who();
    admin
        .registry
        .meta()
        .change(UpdateAccount { who, id, fate })
        .await
}

async fn delete(admin: Admin, Path(id): Path<i64>) -> Outcome<()> {
    answer(&admin, async {
        admin.require_admin()?;
        update(&admin, id, AccountFate::Delete).await
    })
    .await
}

/// Another password, and the one before.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "PasswordReq")]
struct NewPassword {
    old_password: Option<String>,
    new_password: String,
}

/// One's own, if one knows it, or as an administrator anybody's.
async fn set_password(
    admin: Admin,
    Path(id): Path<i64>,
    Body(request): Body<NewPassword>,
) -> Outcome<()> {
    answer(&admin, async {
        require_owner(&admin, id)?;
        if !admin.caller.is_admin() {
            check_own(&admin, request.old_password.as_deref()).await?;
        }
        let hash = hashed(request.new_password).await?;
        update(&admin, id, AccountFate::Password(hash)).await
    })
    .await
}

/// Refuses who does not know the password that the account has. It may be another's connection that
/// is still open, so it is not guessed here faster than where one logs in.
async fn check_own(admin: &Admin, password: Option<&str>) -> Result<(), Error> {
    let (name, password) = (admin.caller.name(), password.unwrap_or_default());
    match auth::login(&admin.registry, name, password, &admin.seen).await {
        Err(error) if error.code == Code::Unauthorized => {
            let message = "old_password is not the password that the account has";
            Err(Error::new(Code::Denied, message))
        }
        checked => checked.map(|_| ()),
    }
}

/// Those who log in somewhere else have a secret for programs in Harbor; nobody does here.
async fn set_cli_secret(admin: Admin, Path(_): Path<i64>) -> Outcome<()> {
    let message = "accounts are the registry's own (db_auth) and have no secret for programs: \
         log in with the password, or make a robot";
    admin.outcome(Err(Error::new(Code::PreconditionFailed, message)))
}

/// Whether somebody is an administrator.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "UserSysAdminFlag")]
struct AdminFlag {
    sysadmin_flag: bool,
}

async fn set_admin(
    admin: Admin,
    Path(id): Path<i64>,
    Body(request): Body<AdminFlag>,
) -> Outcome<()> {
    answer(&admin, async {
        admin.require_admin()?;
        update(&admin, id, AccountFate::Admin(request.sysadmin_flag)).await
    })
    .await
}

/// Whether an account may not be used.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "UserDisabledFlag")]
struct DisabledFlag {
    disabled: bool,
}

async fn set_disabled(
    admin: Admin,
    Path(id): Path<i64>,
    Body(request): Body<DisabledFlag>,
) -> Outcome<()> {
    answer(&admin, async {
        admin.require_admin()?;
        update(&admin, id, AccountFate::Disable(request.disabled)).await
    })
    .await
}
