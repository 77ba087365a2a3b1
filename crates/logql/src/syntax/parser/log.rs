//! Selectors and pipelines.

use model::{MatchOp, Matcher};

use super::super::MAX_PARSERS;
use super::super::ast::{
    Extraction, LabelFormat, LabelPick, LineFilter, LineMatch, LineOp, LogExpr, Stage,
};
use super::super::check;
use super::super::token::{Kind, Word};
use super::{ParseError, Parser};

impl Parser<'_> {
    /// `{a="b"}`; the brace is next. Of one that breaks off behind a matcher, what follows is looked
    /// at all the same, as in the reference: what makes no sense there is told instead. In a range
    /// aggregation it follows with the next token that can stand behind a selector.
    pub(super) fn selector(&mut self, in_range: bool) -> Result<Vec<Matcher>, ParseError> {
        let is_enclosed = self.is_enclosed();
        self.expect(Word::OpenBrace)?;
        let mut matchers = Vec::new();
        if self.eat(Word::CloseBrace) {
            return Ok(matchers);
        }
        let broken = match self.matchers(&mut matchers) {
            Err(error) if error.has_place() && !matchers.is_empty() => error,
            whole => return whole.map(|()| matchers),
        };
        let broken = self.faulty_number().unwrap_or(broken);
        // Behind a token that is wrong there is none, as behind the end.
        while in_range
            && !matches!(self.kind(), Kind::End | Kind::Bad(_))
            && !self.follows_selector(is_enclosed)
        {
            self.advance();
        }
        match self.follows_selector(is_enclosed) {
            true => {
                self.passed.get_or_insert(broken);
                Ok(matchers)
            }
            false => Err(broken),
        }
    }

    /// Whether the brace at hand is in parentheses other than those of an aggregation.
    fn is_enclosed(&self) -> bool {
        let before = |back| self.at.checked_sub(back).and_then(|at| self.tokens.get(at));
        let is_paren = before(1).is_some_and(|token| token.kind == Kind::Word(Word::OpenParen));
        is_paren && !before(2).is_some_and(|token| matches!(token.kind, Kind::RangeOp(_)))
    }

    /// Whether the token at hand can stand behind a selector of a range aggregation.
    fn follows_selector(&self, is_enclosed: bool) -> bool {
        match self.kind() {
            Kind::Range(_) | Kind::Word(Word::Pipe) => true,
            Kind::Word(Word::CloseParen) => is_enclosed,
            Kind::Word(word) => word.line_op().is_some(),
            _ => false,
        }
    }

    /// What is between the braces, and the one at the end.
    fn matchers(&mut self, matchers: &mut Vec<Matcher>) -> Result<(), ParseError> {
        if *self.kind() != Kind::Identifier {
            return Err(self.unexpected(&["IDENTIFIER", "}"]));
        }
        loop {
            let name = self.any_name()?;
            let Some(op) = self.match_op() else {
                return Err(self.unexpected(&["=", "=~", "!~", "!="]));
            };
            self.advance();
            let value = self.string()?;
            matchers.push(self.matcher(name, op, value)?);
            if self.eat(Word::CloseBrace) {
                return Ok(());
            }
            if !self.eat(Word::Comma) {
                return Err(self.unexpected(&["}", ","]));
            }
        }
    }

    pub(super) fn match_op(&self) -> Option<MatchOp> {
        Some(match self.kind() {
            Kind::Word(Word::Equal) => MatchOp::Equal,
            Kind::Word(Word::NotEqual) => MatchOp::NotEqual,
            Kind::Word(Word::RegexMatch) => MatchOp::Regex,
            Kind::Word(Word::NotRegex) => MatchOp::NotRegex,
            _ => return None,
        })
    }

    /// Stages up to something else; `| unwrap` is left to the caller if it `may_unwrap`.
    pub(super) fn pipeline(&mut self, may_unwrap: bool) -> Result<Vec<Stage>, ParseError> {
        let mut stages = Vec::new();
        let mut parsers = 0;
        loop {
            let line_op = match self.kind() {
                Kind::Word(word) => word.line_op(),
                _ => None,
            };
            if let Some(op) = line_op {
                self.advance();
                let filters = self.line_filters(op)?;
                stages.extend(filters.into_iter().map(Stage::LineFilter));
            } else if !self.is(Word::Pipe)
                || may_unwrap && *self.kind_ahead(1) == Kind::Word(Word::Unwrap)
            {
                return Ok(stages);
            } else {
                self.advance();
                let stage = self.stage()?;
                parsers += u32::from(stage.is_parser());
                if parsers > MAX_PARSERS {
                    return Err(ParseError::semantic(format!(
                        "query parses each line too often: more than {MAX_PARSERS} times"
                    ))
                    .beyond("query_parsers_max", MAX_PARSERS.into()));
                }
                stages.push(stage);
            }
        }
    }

    /// After a selector: the whole log expression.
    pub(super) fn log_expression(&mut self) -> Result<LogExpr, ParseError> {
        let matchers = self.selector(false)?;
        let stages = self.pipeline(false)?;
        Ok(LogExpr { matchers, stages })
    }

    /// `"a" or "b"` behind an operator. None of several is several filters.
    fn line_filters(&mut self, op: LineOp) -> Result<Vec<LineFilter>, ParseError> {
        let mut alternatives = vec![self.line_match()?];
        while self.eat(Word::Or) {
            alternatives.push(self.line_match()?);
        }
        if matches!(op, LineOp::Regex | LineOp::NotRegex) {
            for alternative in &alternatives {
                if let LineMatch::Text(pattern) = alternative {
                    self.regexes.add(pattern)?;
                }
            }
        }
        if !op.is_negative() {
            return Ok(vec![LineFilter { op, alternatives }]);
        }
        let alone = |alternative| LineFilter {
            op,
            alternatives: vec![alternative],
        };
        Ok(alternatives.into_iter().map(alone).collect())
    }

    fn line_match(&mut self) -> Result<LineMatch, ParseError> {
        match self.kind() {
            Kind::String(_) => self.string().map(LineMatch::Text),
            Kind::Ip => self.ip_argument().map(LineMatch::Ip),
            _ => Err(self.unexpected(&["STRING", "ip"])),
        }
    }

    /// `ip("...")`; `ip` is next.
    pub(super) fn ip_argument(&mut self) -> Result<String, ParseError> {
        self.advance();
        self.expect(Word::OpenParen)?;
        let pattern = self.string()?;
        self.expect(Word::CloseParen)?;
        Ok(pattern)
    }

    /// A stage after its pipe.
    fn stage(&mut self) -> Result<Stage, ParseError> {
        let word = match self.kind() {
            Kind::Word(Word::OpenParen) | Kind::Identifier => {
                return self.label_filter().map(Stage::LabelFilter);
            }
            Kind::Word(word) => *word,
            _ => return Err(self.unexpected(&[])),
        };
        let refused = self.unexpected(&[]);
        self.advance();
        Ok(match word {
            Word::Json => Stage::Json(self.extractions()?),
            Word::Logfmt => self.logfmt()?,
            Word::Unpack => Stage::Unpack,
            Word::Decolorize => Stage::Decolorize,
            Word::Regexp => {
                let pattern = self.string()?;
                check::regexp(&pattern)?;
                self.regexes.add_with_groups(&pattern)?;
                Stage::Regexp(pattern)
            }
            Word::Pattern => {
                let pattern = self.string()?;
                check::capture_pattern(&pattern)?;
                Stage::Pattern(pattern)
            }
            Word::LineFormat => Stage::LineFormat(self.template()?),
            Word::LabelFormat => Stage::LabelFormat(self.list(Self::label_format)?),
            Word::Drop => Stage::Drop(self.list(Self::label_pick)?),
            Word::Keep => Stage::Keep(self.list(Self::label_pick)?),
            _ => return Err(refused),
        })
    }

    fn logfmt(&mut self) -> Result<Stage, ParseError> {
        let (mut strict, mut keep_empty) = (false, false);
        while *self.kind() == Kind::Flag {
            let text = self.tokens.get(self.at).map_or("", |token| token.text);
            strict |= text == "--strict";
            keep_empty |= text == "--keep-empty";
            self.advance();
        }
        let extractions = self.extractions()?;
        Ok(Stage::Logfmt {
            strict,
            keep_empty,
            extractions,
        })
    }

    /// `a="x", b`, or nothing.
    fn extractions(&mut self) -> Result<Vec<Extraction>, ParseError> {
        if *self.kind() == Kind::Identifier {
            self.list(Self::extraction)
        } else {
            Ok(Vec::new())
        }
    }

    fn extraction(&mut self) -> Result<Extraction, ParseError> {
        let label = self.identifier()?;
        let source = if self.eat(Word::Equal) {
            self.string()?
        } else {
            label.clone()
        };
        Ok(Extraction { label, source })
    }

    fn label_format(&mut self) -> Result<LabelFormat, ParseError> {
        let to = self.identifier()?;
        self.expect(Word::Equal)?;
        match self.kind() {
            Kind::Identifier => Ok(LabelFormat::Rename {
                to,
                from: self.identifier()?,
            }),
            Kind::String(_) => Ok(LabelFormat::Template {
                to,
                template: self.template()?,
            }),
            _ => Err(self.unexpected(&["IDENTIFIER", "STRING"])),
        }
    }

    fn template(&mut self) -> Result<String, ParseError> {
        let text = self.string()?;
        self.regexes.add_template(&text)?;
        Ok(text)
    }

    fn label_pick(&mut self) -> Result<LabelPick, ParseError> {
        let name = self.identifier()?;
        let Some(op) = self.match_op() else {
            return Ok(LabelPick::Name(name));
        };
        self.advance();
        let value = self.string()?;
        self.matcher(name, op, value).map(LabelPick::Matcher)
    }

    /// One or more of `item`, with commas between.
    pub(super) fn list<T>(
        &mut self,
        item: impl Fn(&mut Self) -> Result<T, ParseError>,
    ) -> Result<Vec<T>, ParseError> {
        let mut items = vec![item(self)?];
        while self.eat(Word::Comma) {
            items.push(item(self)?);
        }
        Ok(items)
    }
}
