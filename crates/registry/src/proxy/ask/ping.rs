//! Asks another registry whether it is one, before anything is wanted of it.

use http::{Method, StatusCode};

use super::{Asker, Failed, Question, is_denial};
use crate::meta::Upstream;

impl Asker {
    /// Whether a registry is where it is said to be, and takes the login that is said. Nothing of that is
    /// remembered, as it may be no registry that is known.
    pub(in crate::proxy) async fn ping(&self, upstream: &Upstream) -> Result<(), Failed> {
        let question = Question {
            method: Method::GET,
            repo: "",
            what: String::new(),
            is_optional: false,
        };
        let mut answer = self.send(upstream, &question, None).await?;
        if answer.status() == StatusCode::UNAUTHORIZED
            && let Some(login) = self.log_in(upstream, &question, answer.headers()).await?
        {
            answer = self.send(upstream, &question, Some(&login)).await?;
        }
        let text = &upstream.text;
        match answer.status() {
            status if status.is_success() => Ok(()),
            // What it gives to nobody in particular is told only by what is asked for.
            status if is_denial(status) && text.username.is_empty() => Ok(()),
            status if is_denial(status) => Err(Failed::Refused(format!(
                "{} does not take the login of {}: {status}",
                text.name, text.username
            ))),
            status => Err(Failed::Down(format!(
                "{} does not answer as a registry does: {status}",
                text.url
            ))),
        }
    }
}
