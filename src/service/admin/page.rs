//! The live page: three files and a table of texts, all in the binary.

use std::sync::LazyLock;

use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::answer::json;
use crate::text;

const INDEX: &str = include_str!("page/index.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");
const ICON: &str = include_str!("page/icon.svg");

static TEXTS: LazyLock<serde_json::Value> = LazyLock::new(text::page::all);

fn file(content_type: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, content_type)], text).into_response()
}

pub(super) async fn index() -> Response {
    file("text/html; charset=utf-8", INDEX)
}

pub(super) async fn style() -> Response {
    file("text/css; charset=utf-8", STYLE)
}

pub(super) async fn script() -> Response {
    file("text/javascript; charset=utf-8", SCRIPT)
}

pub(super) async fn icon() -> Response {
    file("image/svg+xml", ICON)
}

pub(super) async fn texts() -> Response {
    json(&TEXTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `pattern` introduces in `file`, up to the next quote.
    fn keys<'a>(file: &'a str, pattern: &str, quote: char) -> Vec<&'a str> {
        file.split(pattern).skip(1).filter_map(|rest| rest.split(quote).next()).collect()
    }

    #[test]
    fn every_text_of_the_page_is_in_the_table_in_both_languages() {
        let html = ["data-text=\"", "data-label=\"", "data-placeholder=\""]
            .iter()
            .flat_map(|pattern| keys(INDEX, pattern, '"'));
        let script = keys(SCRIPT, "say('", '\'');
        let all: Vec<&str> = html.chain(script).collect();
        assert!(all.len() > 40, "the page has its texts: {}", all.len());
        for language in ["zh-CN", "en"] {
            let table = TEXTS[language].as_object().unwrap();
            for key in &all {
                assert!(table.contains_key(*key), "{key} has no text in {language}");
            }
            assert!(table.contains_key("reason.granted"));
        }
    }

    #[test]
    fn nothing_is_loaded_from_elsewhere_and_nothing_is_inline() {
        for file in [INDEX, STYLE, SCRIPT] {
            assert!(!file.replace("http://www.w3.org/2000/svg", "").contains("://"));
            for forbidden in
                ["innerHTML", "insertAdjacentHTML", "document.write", "eval(", " style=", " onclick="]
            {
                assert!(!file.contains(forbidden), "{forbidden}");
            }
        }
        assert!(!INDEX.contains("<style") && INDEX.matches("<script").count() == 1);
    }
}
