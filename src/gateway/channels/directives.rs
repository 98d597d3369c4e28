//! What a model writes into its answer that is for the gateway: files to bring along, the message to answer, silence. Pure.

/// An answer without them, and they.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    pub texts: Vec<String>,
    /// `MEDIA: path or address`, a line of its own.
    pub media: Vec<String>,
    /// `[[reply_to_current]]`, or the id of `[[reply_to:id]]`.
    pub reply_to: Option<ReplyTo>,
    /// `[[audio_as_voice]]`.
    pub as_voice: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplyTo {
    Current,
    Message(String),
}

/// Said alone: there is nothing to say. Reference.
const SILENT: &str = "NO_REPLY";

pub fn read(texts: &[String]) -> Answer {
    let mut out = Answer::default();
    for text in texts {
        let mut lines = vec![];
        let mut in_code = false;
        for line in text.lines() {
            in_code ^= line.trim_start().starts_with("```");
            match line.trim().strip_prefix("MEDIA:").map(|it| it.trim().trim_matches(['`', '"', '\''])) {
                Some(source) if !in_code && !source.is_empty() => out.media.push(source.to_owned()),
                _ => lines.push(tags(line, &mut out)),
            }
        }
        let text = lines.join("\n").trim().to_owned();
        let bare = text.trim_end_matches(SILENT).trim_end();
        let silent =
            text.ends_with(SILENT) && (bare.is_empty() || text[..text.len() - SILENT.len()].ends_with('\n'));
        let text = if silent { bare.to_owned() } else { text };
        if !text.is_empty() {
            out.texts.push(text);
        }
    }
    out
}

/// A line without its `[[…]]`.
fn tags(line: &str, out: &mut Answer) -> String {
    let mut left = String::new();
    let mut rest = line;
    while let Some((before, behind)) = rest.split_once("[[") {
        let Some((tag, after)) = behind.split_once("]]") else { break };
        let word = tag.trim();
        match word.strip_prefix("reply_to:").map(str::trim) {
            Some(id) if !id.is_empty() => out.reply_to = Some(ReplyTo::Message(id.to_owned())),
            _ if word == "reply_to_current" => out.reply_to = Some(ReplyTo::Current),
            _ if word == "audio_as_voice" => out.as_voice = true,
            _ => {
                left += &format!("{before}[[{tag}]]");
                rest = after;
                continue;
            }
        }
        left += before;
        rest = after;
    }
    left += rest;
    if left.len() == line.len() { left } else { left.trim().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Answer {
        read(&[text.to_owned()])
    }
    #[test]
    fn what_is_for_the_gateway_is_not_said() {
        let it = of("[[reply_to_current]] Here it is.\nMEDIA: `out/a.png`\n[[audio_as_voice]]\nBye");
        assert_eq!(it.texts, ["Here it is.\n\nBye"]);
        assert_eq!(
            (it.media, it.reply_to, it.as_voice),
            (vec!["out/a.png".to_owned()], Some(ReplyTo::Current), true)
        );
        assert_eq!(of("x [[reply_to: 17 ]]").reply_to, Some(ReplyTo::Message("17".into())));
        assert_eq!(of("a [[wiki]] b").texts, ["a [[wiki]] b"]);
        assert_eq!(of("```\nMEDIA: x\n```").media, Vec::<String>::new());
    }
    #[test]
    fn silence() {
        assert!(of(" NO_REPLY\n").texts.is_empty());
        assert_eq!(of("done\nNO_REPLY").texts, ["done"]);
        assert_eq!(of("say NO_REPLY").texts, ["say NO_REPLY"]);
    }
}
