-- What Harbor's clients call a group: 1 of LDAP, 2 of HTTP, 3 of OIDC.
ALTER TABLE user_group ADD COLUMN kind BIGINT NOT NULL DEFAULT 2;
