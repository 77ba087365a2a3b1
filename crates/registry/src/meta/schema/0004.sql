-- Groups of accounts, which have roles in projects as accounts do.
CREATE TABLE user_group (
    id {id},
    name {text} NOT NULL UNIQUE,
    created_ms BIGINT NOT NULL
);
CREATE TABLE group_account (
    group_id BIGINT NOT NULL REFERENCES user_group (id) ON DELETE CASCADE,
    account_id BIGINT NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    PRIMARY KEY (group_id, account_id)
);
CREATE INDEX group_account_by_account ON group_account (account_id);
CREATE TABLE member_group (
    project_id BIGINT NOT NULL REFERENCES project (id) ON DELETE CASCADE,
    group_id BIGINT NOT NULL REFERENCES user_group (id) ON DELETE CASCADE,
    role TEXT NOT NULL,
    PRIMARY KEY (project_id, group_id)
);
CREATE INDEX member_group_by_group ON member_group (group_id);
