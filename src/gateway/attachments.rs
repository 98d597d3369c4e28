//! What people attach: images, as base64 or as a `data:` URL. Everything else is left out, as the reference does.
use crate::agent::conversation::Image;
use crate::agent::media::sniff;
use crate::base::ids::{base64, from_base64};
use crate::base::limits::ATTACHMENT_BYTES_MAX;
use crate::protocol::error::{RpcError, RpcResult};
use serde_json::Value;

/// The images among `{type?, mimeType?, fileName?, content}` objects.
///
/// # Errors
/// The reference's texts.
pub fn images(attachments: &[Value]) -> RpcResult<Vec<Image>> {
    let mut out = vec![];
    for (n, it) in attachments.iter().enumerate().filter(|it| it.1.is_object()) {
        let word = |name: &str| it[name].as_str().map(str::trim).filter(|it| !it.is_empty());
        let label =
            word("fileName").or(word("type")).map_or_else(|| format!("attachment-{}", n + 1), str::to_owned);
        let Some(content) = word("content") else { continue };
        let (named, data) = match content.strip_prefix("data:").and_then(|it| it.split_once(";base64,")) {
            Some((mime, data)) => (Some(mime), data),
            None => (word("mimeType"), content),
        };
        let wrong = |text: String| RpcError::invalid(format!("Error: attachment {label}: {text}"));
        // Known before anything is decoded.
        let bytes_max = data.len() / 4 * 3;
        if bytes_max > ATTACHMENT_BYTES_MAX + 3 {
            return Err(wrong(format!("exceeds size limit ({bytes_max} > {ATTACHMENT_BYTES_MAX} bytes)")));
        }
        let bytes = from_base64(data).ok_or_else(|| wrong("invalid base64 content".into()))?;
        if bytes.len() > ATTACHMENT_BYTES_MAX {
            let text = format!("exceeds size limit ({} > {ATTACHMENT_BYTES_MAX} bytes)", bytes.len());
            return Err(wrong(text));
        }
        // What the bytes are counts more than what they are called.
        let mime = sniff(&bytes).or(named.filter(|it| it.starts_with("image/")));
        if let Some(mime) = mime {
            out.push(Image { mime_type: mime.to_owned(), data: base64(&bytes) });
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn images_are_found_by_their_bytes() {
        let png = base64(b"\x89PNG\r\n\x1a\n");
        let all = [
            json!("abc"),
            json!({ "content": png }),
            json!({ "mimeType": "text/plain", "content": "aGk=" }),
            json!({ "content": format!("data:image/webp;base64,{}", base64(b"whatever")) }),
            json!({ "type": "image", "mimeType": "image/jpeg", "content": png }),
        ];
        let found: Vec<String> = images(&all).unwrap().into_iter().map(|it| it.mime_type).collect();
        assert_eq!(found, ["image/png", "image/webp", "image/png"]);
    }
    #[test]
    fn what_is_wrong_is_named() {
        let text = |it: Value| images(&[it]).unwrap_err().message;
        assert_eq!(
            text(json!({ "content": "###" })),
            "Error: attachment attachment-1: invalid base64 content"
        );
        assert_eq!(
            text(json!({ "fileName": "a.png", "type": "image", "content": "*" })),
            "Error: attachment a.png: invalid base64 content"
        );
        let big = "A".repeat(ATTACHMENT_BYTES_MAX / 3 * 4 + 400);
        assert!(text(json!({ "type": "image", "content": big })).contains("exceeds size limit ("));
    }
}
