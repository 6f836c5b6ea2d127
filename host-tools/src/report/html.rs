//! A page of HTML that needs nothing but itself: no scripts, no other files, and no text that is taken for markup.

use crate::render::text::is_harmful;

/// What it looks like.
const STYLE: &str = "body{font:15px/1.5 sans-serif;color:#222;background:#fff;max-width:72em;margin:2em auto;padding:0 1em}\
h1{font-size:1.4em}h2{font-size:1.15em;margin:2em 0 .5em;border-bottom:1px solid #ccc}\
table{border-collapse:collapse}th,td{padding:.15em 1.2em .15em 0;text-align:left;vertical-align:top;overflow-wrap:anywhere}\
th{font-weight:600;white-space:nowrap}td.n,th.n{text-align:right;white-space:nowrap}\
pre{background:#f5f5f5;padding:.8em;overflow:auto;font:13px/1.4 monospace}\
mark{background:#fde0d0}svg{max-width:100%;height:auto}summary{cursor:pointer}footer{margin-top:3em;color:#666}";

/// A text as HTML shows it: markup is text, and characters that change how others are shown are `\xNN`.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' => out.push('\n'),
            c if is_harmful(c) => {
                c.encode_utf8(&mut [0; 4])
                    .bytes()
                    .for_each(|byte| out.push_str(&format!("\\x{byte:02x}")));
            }
            c => out.push(c),
        }
    }
    out
}

/// A page that is being written.
pub struct Page(String);

impl Page {
    /// Its head, and what stands above all.
    pub fn new(title: &str) -> Page {
        let title = escaped(title);
        Page(format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
             <style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
        ))
    }

    /// What stands above a part.
    pub fn heading(&mut self, text: &str) {
        self.0 += &format!("<h2>{}</h2>\n", escaped(text));
    }

    /// A paragraph.
    pub fn words(&mut self, text: &str) {
        self.0 += &format!("<p>{}</p>\n", escaped(text));
    }

    /// Text whose lines stay; those for which `marked` is true stand out.
    pub fn lines(&mut self, lines: &[String], marked: impl Fn(&str) -> bool) {
        self.0 += "<pre>";
        for line in lines {
            let text = escaped(line);
            self.0 += &if marked(line) { format!("<mark>{text}</mark>\n") } else { text + "\n" };
        }
        self.0 += "</pre>\n";
    }

    /// Labels and values.
    pub fn pairs(&mut self, rows: &[(String, String)]) {
        self.0 += "<table>\n";
        for (label, value) in rows {
            self.0 += &format!("<tr><th scope=\"row\">{}<td>{}\n", escaped(label), escaped(value));
        }
        self.0 += "</table>\n";
    }

    /// Columns under a head: the first one is text, all others are numbers.
    pub fn columns(&mut self, rows: &[Vec<String>]) {
        self.0 += "<table>\n";
        for (index, row) in rows.iter().enumerate() {
            let cell = if index == 0 { "th scope=\"col\"" } else { "td" };
            self.0 += "<tr>";
            for (n, text) in row.iter().enumerate() {
                let class = if n == 0 { "" } else { " class=\"n\"" };
                self.0 += &format!("<{cell}{class}>{}", escaped(text));
            }
            self.0.push('\n');
        }
        self.0 += "</table>\n";
    }

    /// What is shown under a line that is clicked; `open` from the start.
    pub fn folded(&mut self, line: &str, open: bool, inside: impl FnOnce(&mut Page)) {
        let open = if open { " open" } else { "" };
        self.0 += &format!("<details{open}><summary>{}</summary>\n", escaped(line));
        inside(self);
        self.0 += "</details>\n";
    }

    /// A picture that is markup already.
    pub fn picture(&mut self, svg: &str) {
        self.0 += svg;
    }

    /// The page, which ends with these words.
    pub fn end(mut self, words: &str) -> String {
        self.0 += &format!("<footer>{}</footer>\n</body>\n</html>\n", escaped(words));
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_is_markup() {
        assert_eq!(
            escaped("</pre><a href='x'>&\"\n"),
            "&lt;/pre&gt;&lt;a href=&#39;x&#39;&gt;&amp;&quot;\n"
        );
        assert_eq!(escaped("a\u{202e}b\u{1b}\0"), "a\\xe2\\x80\\xaeb\\x1b\\x00");
        let hostile = "<script>";
        let mut page = Page::new(hostile);
        page.heading(hostile);
        page.words(hostile);
        page.lines(&[hostile.to_owned()], |_| true);
        page.pairs(&[(hostile.to_owned(), hostile.to_owned())]);
        page.columns(&[vec![hostile.to_owned()], vec![hostile.to_owned()]]);
        page.folded(hostile, true, |page| page.words(hostile));
        let page = page.end(hostile);
        assert!(!page.contains(hostile), "{page}");
        assert_eq!(page.matches("&lt;script&gt;").count(), 12);
    }
}
