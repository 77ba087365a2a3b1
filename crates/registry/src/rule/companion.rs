//! Tags that are about another artifact of their repository, and say so by their name, as those of
//! cosign and of clients for registries that do not list referrers: `sha256-` and the digest in
//! hexadecimal, then an ending such as `.sig`.

use std::collections::{HashMap, HashSet};

use super::Candidate;
use crate::digest::Digest;

/// The digest of what a tag is about, if its name says so.
pub(crate) fn subject(tag: &str) -> Option<Digest> {
    let name = tag.split('.').next()?;
    let (algorithm, hex) = name.split_once('-')?;
    Digest::parse(&format!("{algorithm}:{hex}")).ok()
}

/// What indexes name, by their digests.
pub(crate) type Parts = HashMap<String, Vec<String>>;

/// The tags that are about what goes with `going`, all of the repository's that go so far: what no
/// tag that stays has, also through indexes. What is about something that no tag had before stays: its
/// subject may be in another repository.
pub(crate) fn followers<'t>(
    tags: &'t [Candidate],
    going: &[&Candidate],
    parts: &Parts,
) -> Vec<&'t Candidate> {
    let goes: HashSet<&str> = going.iter().map(|gone| gone.tag.as_str()).collect();
    let mut companions = Vec::new();
    let mut staying = Vec::new();
    for tag in tags {
        match subject(&tag.tag) {
            Some(subject) => companions.push((tag, subject)),
            None if !goes.contains(tag.tag.as_str()) => staying.push(tag.digest.as_str()),
            None => {}
        }
    }
    let going = below(going.iter().map(|gone| gone.digest.as_str()), parts);
    let staying = below(staying, parts);
    let follows =
        |subject: &Digest| going.contains(subject.as_str()) && !staying.contains(subject.as_str());
    companions
        .into_iter()
        .filter(|(_, subject)| follows(subject))
        .map(|(tag, _)| tag)
        .collect()
}

/// These digests, and what they name, however far down. Digests make no circles.
fn below<'d>(digests: impl IntoIterator<Item = &'d str>, parts: &'d Parts) -> HashSet<&'d str> {
    let mut found = HashSet::new();
    let mut waiting: Vec<&str> = digests.into_iter().collect();
    while let Some(digest) = waiting.pop() {
        if found.insert(digest) {
            let parts = parts.get(digest).into_iter().flatten();
            waiting.extend(parts.map(String::as_str));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(letter: char) -> String {
        format!("sha256:{}", letter.to_string().repeat(64))
    }

    fn about(letter: char, ending: &str) -> String {
        format!("{}{ending}", digest(letter).replace(':', "-"))
    }

    fn candidate(tag: &str, letter: char) -> Candidate {
        Candidate {
            tag: tag.to_owned(),
            digest: digest(letter),
            pushed_ms: 0,
            pulled_ms: None,
            is_running: false,
        }
    }

    #[test]
    fn names_say_what_they_are_about() {
        for ending in ["", ".sig", ".att", ".sbom", ".a.b"] {
            let subject = subject(&about('a', ending)).unwrap();
            assert_eq!(subject.as_str(), digest('a'), "{ending}");
        }
        for tag in ["v1", "sha256-abc.sig", "sha256.sig", "", "latest-sha256"] {
            assert!(subject(tag).is_none(), "{tag}");
        }
    }

    #[test]
    fn who_is_about_what_goes_follows_it() {
        let index = about('b', ".sig");
        let tags = [
            candidate("old", 'a'),
            candidate("same", 'c'),
            candidate("new", 'c'),
            candidate(&about('a', ".sig"), 'd'),
            candidate(&index, 'e'),
            candidate(&about('c', ".sig"), 'f'),
            // Its subject is elsewhere.
            candidate(&about('9', ".sig"), '8'),
        ];
        let follow = |going: &[usize], parts: &[(char, char)]| {
            let parts = parts
                .iter()
                .map(|(of, part)| (digest(*of), vec![digest(*part)]));
            let parts: Parts = parts.collect();
            let going: Vec<&Candidate> = going.iter().map(|at| &tags[*at]).collect();
            let followers = followers(&tags, &going, &parts);
            let tags = followers.iter().map(|tag| tag.tag.clone());
            tags.collect::<Vec<_>>()
        };
        assert_eq!(follow(&[0], &[]), [about('a', ".sig")]);
        assert!(follow(&[1], &[]).is_empty(), "another tag has it");
        assert_eq!(follow(&[1, 2], &[]), [about('c', ".sig")]);
        assert!(follow(&[], &[]).is_empty());
        // An index of which each part is signed.
        let all = [about('a', ".sig"), index];
        assert_eq!(follow(&[0], &[('a', 'b')]), all);
        assert_eq!(follow(&[0], &[('a', 'b'), ('c', 'b')]), all[..1]);
    }
}
