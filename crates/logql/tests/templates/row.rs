//! The row that the templates of the tables run on.

use logql::template::Labels;

/// Labels in the order of their names.
pub(crate) struct Row(&'static [(&'static str, &'static str)]);

impl Labels for Row {
    fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(label, _)| *label == name);
        found.map(|(_, value)| *value)
    }

    fn for_each(&self, visit: &mut dyn FnMut(&str, &str)) {
        self.0.iter().for_each(|(name, value)| visit(name, value));
    }
}

/// The row of the tables.
pub(crate) fn row() -> Row {
    Row(&[
        ("dur", "1m30.5s"),
        ("empty", ""),
        (
            "json",
            r#"{"a":{"b":[1,2.5,"x"]},"n":null,"t":true,"z":"last"}"#,
        ),
        ("list", "[5,6,7]"),
        ("method", "POST"),
        ("n", "234"),
        ("path", "/static/app.js"),
        ("quoted", r#"Ana "A" <b>"#),
        ("size", "1.5KiB"),
        ("status", "404"),
        ("val", "12.50"),
    ])
}
