-- Whose tokens hold no more, in the order in which that was said.
CREATE TABLE revocation (
    id {id},
    subject {text} NOT NULL
);
