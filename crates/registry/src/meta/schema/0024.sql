-- What robots were given in Harbor's words, by project: several of them are one action here.
ALTER TABLE robot ADD COLUMN access TEXT;
