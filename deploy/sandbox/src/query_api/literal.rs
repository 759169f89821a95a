//! Values as they are written into a statement.

/// A string with its quotes, escaped as the real server's client does it.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// Whether `ClickHouse` takes the text for a UUID.
pub(super) fn is_uuid(text: &str) -> bool {
    const FORM: &[u8; 36] = b"xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
    let fits = |(byte, form): (u8, &u8)| match form {
        b'x' => byte.is_ascii_hexdigit(),
        _ => byte == b'-',
    };
    text.len() == FORM.len() && text.bytes().zip(FORM).all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_backslashes_are_escaped() {
        assert_eq!(quoted("x') OR 1=1 -- ?"), r"'x\') OR 1=1 -- ?'");
        assert_eq!(quoted(r"o'brien\"), r"'o\'brien\\'");
    }

    #[test]
    fn a_uuid_has_its_form() {
        assert!(is_uuid("10c67fd9-94b2-48fd-a02f-34a6795b929e"));
        assert!(!is_uuid("10c67fd9-94b2-48fd-a02f-34a6795b929g"));
        assert!(!is_uuid("10c67fd994b248fda02f34a6795b929e"));
        assert!(!is_uuid(""));
    }
}
