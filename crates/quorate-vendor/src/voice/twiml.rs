//! A step of a call in TwiML, the XML that telephony platforms and self-hosted SIP servers act on.
//!
//! What is said stands inside `Gather`, so that a caller who knows the way does not have to hear it to the end. When
//! nothing is typed, a platform either asks the same place without any keys, or goes on behind the `Gather`, where it is
//! sent there.

use super::{Answer, Said};
use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};
use quorate_core::{Code, Error, Result};
use std::io;

/// Writes a step; the line is reached at this URL.
pub fn write(answer: &Answer, url: &str) -> Result<String> {
    let mut writer = Writer::new(Vec::new());
    respond(&mut writer, answer, url).map_err(|error| unwritten(&error))?;
    String::from_utf8(writer.into_inner()).map_err(|error| unwritten(&error))
}

fn respond(writer: &mut Writer<Vec<u8>>, answer: &Answer, url: &str) -> io::Result<()> {
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let response = writer.create_element("Response");
    response.write_inner_content(|writer| {
        let Some(call) = &answer.then else {
            say(writer, &answer.says)?;
            return writer.create_element("Hangup").write_empty().map(drop);
        };
        let (action, keys) = (format!("{url}?{call}"), call.keys().to_string());
        // A single key has nothing to be ended by; a group is begun again by the star.
        let finish = if call.keys() > 1 { "*" } else { "" };
        let gather = writer.create_element("Gather").with_attributes([
            ("input", "dtmf"),
            ("numDigits", keys.as_str()),
            ("finishOnKey", finish),
            // Or a star before any digit would be taken for silence. Platforms that do not know it go on behind.
            ("actionOnEmptyResult", "true"),
            ("timeout", TIMEOUT),
            ("action", action.as_str()),
            ("method", "POST"),
        ]);
        gather.write_inner_content(|writer| say(writer, &answer.says))?;
        let redirect = writer.create_element("Redirect").with_attribute(("method", "POST"));
        redirect.write_text_content(BytesText::new(&action)).map(drop)
    })?;
    Ok(())
}

fn say(writer: &mut Writer<Vec<u8>>, says: &[Said]) -> io::Result<()> {
    for said in says {
        match said {
            Said::Words(words) => {
                // The vendor's name may hold what XML has no way to write.
                let words: String = words.chars().filter(|c| !is_unwritable(*c)).collect();
                let say = writer.create_element("Say").with_attribute(("language", LANGUAGE));
                say.write_text_content(BytesText::new(&words))?
            }
            Said::Pause => writer.create_element("Pause").with_attribute(("length", "1")).write_empty()?,
        };
    }
    Ok(())
}

fn is_unwritable(c: char) -> bool {
    c.is_control() || matches!(c, '\u{FFFE}' | '\u{FFFF}')
}

fn unwritten(error: &dyn std::fmt::Display) -> Error {
    Error::new(Code::Internal, format!("a step of a call cannot be written ({error})"), "please report this")
}

const LANGUAGE: &str = "en-GB";
/// Seconds for each key: the next digit has to be found on a screen.
const TIMEOUT: &str = "10";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::voice::Call;

    #[test]
    fn a_step_is_written_as_the_platforms_read_it() {
        let step = Call::begin().answer("Smith & <Söhne>\u{7}", "", |_| unreachable!());
        let text = write(&step, "https://activation.contoso.example/voice").unwrap();
        let action = "https://activation.contoso.example/voice?turn=1&amp;silent=0&amp;wrong=0&amp;groups=";
        let expected = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response>\
             <Gather input=\"dtmf\" numDigits=\"6\" finishOnKey=\"*\" actionOnEmptyResult=\"true\" timeout=\"10\" \
             action=\"{action}\" method=\"POST\"><Say language=\"en-GB\">Welcome to the activation line of Smith &amp; &lt;Söhne&gt;. You \
             need the Installation ID that your machine shows: nine groups of six digits. If you make a mistake, press \
             star, and type the group again. Group 1, please.</Say></Gather>\
             <Redirect method=\"POST\">{action}</Redirect></Response>"
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn a_call_that_ends_hangs_up() {
        let step = Answer { says: vec![Said::Words("Goodbye.".to_owned()), Said::Pause], then: None };
        let expected = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response>\
             <Say language=\"en-GB\">Goodbye.</Say><Pause length=\"1\"/><Hangup/></Response>";
        assert_eq!(write(&step, "https://activation.contoso.example/voice").unwrap(), expected);
    }
}
