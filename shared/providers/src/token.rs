//! The credential of a provider's API.

use std::fmt;
use std::str::FromStr;

use http::HeaderValue;
use model::Invalid;

/// What pays. It is in the header of each request and nowhere else: it has no text form.
#[derive(Clone)]
pub struct Token(HeaderValue);

impl FromStr for Token {
    type Err = Invalid;

    /// Reads a token; blanks around it come from files and are none of it. The error does not repeat it.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let text = text.trim();
        let is_token = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        let header = HeaderValue::try_from(format!("Bearer {text}")).ok();
        let header = header.filter(|_| is_token);
        let mut header = header
            .ok_or_else(|| Invalid::new("provider token", "visible ASCII characters expected"))?;
        header.set_sensitive(true);
        Ok(Self(header))
    }
}

impl Token {
    /// The value of the header `Authorization` (RFC 6750, section 2.1).
    pub(crate) fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_never_shows() {
        let token: Token = " s3cret\n".parse().unwrap();
        assert_eq!(token.header(), "Bearer s3cret");
        assert!(!format!("{token:?} {:?}", token.header()).contains("s3cret"));
        let error = "s3cret two".parse::<Token>().unwrap_err();
        assert!(!error.to_string().contains("s3cret"));
        assert!(" ".parse::<Token>().is_err());
    }
}
