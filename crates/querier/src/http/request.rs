//! What handlers take from a request: parameters of the query string and of a form body, tenants,
//! and how labels are to be shown.

use std::collections::BTreeSet;

use axum::extract::{FromRequest, FromRequestParts, Request};
use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE};
use logql::syntax;
use model::{Code, CodedError, Matcher};
use server::http::{ApiError, Tenants};

use crate::check;
use crate::encode::{Encoding, LabelStyle};
use crate::params::Params;

/// How clients ask for Loki's protobuf.
pub(crate) const PROTOBUF: &str = "application/vnd.google.protobuf";

/// Bytes of a form body.
const FORM_BYTES_MAX: usize = 1 << 20;

/// A request of a tenant.
pub(crate) struct ApiRequest {
    pub(crate) params: Params,
    pub(crate) tenants: Tenants,
    pub(crate) encoding: Encoding,
    /// Whether the answer is to be protobuf instead of JSON.
    pub(crate) wants_protobuf: bool,
}

/// A request of nobody in particular.
pub(crate) struct OpenRequest {
    pub(crate) params: Params,
}

impl<S: Send + Sync> FromRequest<S> for ApiRequest {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let (mut parts, body) = request.into_parts();
        let tenants = Tenants::from_request_parts(&mut parts, state).await?;
        let encoding = encoding(&parts.headers);
        let accept = parts.headers.get(ACCEPT);
        let wants_protobuf = accept.is_some_and(|accept| accept.as_bytes() == PROTOBUF.as_bytes());
        let params = params_of(Request::from_parts(parts, body)).await?;
        Ok(Self {
            params,
            tenants,
            encoding,
            wants_protobuf,
        })
    }
}

impl<S: Send + Sync> FromRequest<S> for OpenRequest {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        Ok(Self {
            params: params_of(request).await?,
        })
    }
}

/// `X-Loki-Response-Encoding-Flags: categorize-labels`
pub(crate) fn encoding(headers: &HeaderMap) -> Encoding {
    let flags = headers
        .get("x-loki-response-encoding-flags")
        .and_then(|flags| flags.to_str().ok())
        .unwrap_or_default();
    let flags: Vec<String> = flags
        .split(',')
        .map(|flag| flag.trim().to_owned())
        .filter(|flag| !flag.is_empty())
        .collect();
    let style = match flags.iter().any(|flag| flag == "categorize-labels") {
        true => LabelStyle::Categorized,
        false => LabelStyle::Merged,
    };
    Encoding { style, flags }
}

/// Parameters of a form come before those of the query string, as Go's `Request.Form` has it.
async fn params_of(request: Request) -> Result<Params, ApiError> {
    let (parts, body) = request.into_parts();
    let query = parts.uri.query().unwrap_or_default();
    let is_form = parts
        .headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
    if !is_form {
        return Ok(Params::parse(&[query]));
    }
    let form = axum::body::to_bytes(body, FORM_BYTES_MAX)
        .await
        .map_err(|_| {
            let error = CodedError::new(
                Code::TooLarge,
                format!("the form is larger than {FORM_BYTES_MAX} bytes, or was cut off"),
            );
            error.beyond_bound("form_bytes_max", &FORM_BYTES_MAX)
        })?;
    let form =
        std::str::from_utf8(&form).map_err(|_| ApiError::invalid("the form is not valid UTF-8"))?;
    Ok(Params::parse(&[form, query]))
}

pub(super) fn refused(error: &syntax::ParseError) -> CodedError {
    check::unparsable(error)
}

impl ApiRequest {
    /// `query` as a stream selector; none, which selects everything, if absent.
    pub(crate) fn selector_if_any(&self) -> Result<Vec<Matcher>, CodedError> {
        match self.params.get("query") {
            None => Ok(Vec::new()),
            Some(_) => self.selector(),
        }
    }

    /// `query` as a stream selector.
    pub(crate) fn selector(&self) -> Result<Vec<Matcher>, CodedError> {
        syntax::parse_selector(self.params.text("query")).map_err(|error| refused(&error))
    }

    /// `query` as a stream selector, which must be there and may be `{}`.
    pub(crate) fn open_selector(&self) -> Result<Vec<Matcher>, CodedError> {
        let text = self.params.text("query");
        syntax::parse_open_selector(text).map_err(|error| refused(&error))
    }

    /// `match[]` and `match` as stream selectors, of which it is not said yet that each leaves
    /// something out; none if all streams are wanted. They are a set, in order, as in Loki.
    pub(crate) fn match_selectors(&self) -> Result<Vec<Vec<Matcher>>, CodedError> {
        let texts = self.params.all("match[]").chain(self.params.all("match"));
        let texts: BTreeSet<&str> = texts.collect();
        let is_all = |text: &&str| text.chars().filter(|c| *c != ' ').eq("{}".chars());
        if texts.len() == 1 && texts.iter().all(is_all) {
            return Ok(Vec::new());
        }
        let texts: Vec<&str> = texts.into_iter().collect();
        let selectors = syntax::parse_selectors_of_any_streams(&texts);
        let selectors = selectors.map_err(|error| refused(&error))?;
        match selectors
            .iter()
            .zip(&texts)
            .find(|(matchers, _)| matchers.is_empty())
        {
            Some((_, text)) => Err(CodedError::new(
                Code::InvalidArgument,
                format!("0 matchers in group: {text}"),
            )),
            None => Ok(selectors),
        }
    }
}
