-- What is said of robots, and of the people who have accounts.
ALTER TABLE robot ADD COLUMN description TEXT NOT NULL DEFAULT '';
ALTER TABLE account ADD COLUMN email TEXT NOT NULL DEFAULT '';
ALTER TABLE account ADD COLUMN realname TEXT NOT NULL DEFAULT '';
ALTER TABLE account ADD COLUMN comment TEXT NOT NULL DEFAULT '';
