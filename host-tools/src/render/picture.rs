//! Pictures of rectangles and words, as SVG and PNG.

use font8x8::{BASIC_FONTS, UnicodeFonts};
use std::fmt::Write;

/// Width and height of a letter.
pub const LETTER: u32 = 8;

/// Red, green and blue.
pub type Colour = [u8; 3];

enum Shape {
    Box { x: u32, y: u32, width: u32, height: u32, colour: Colour, title: String },
    Words { x: u32, y: u32, text: String },
}

/// A white page with shapes on it, in pixels from its upper left corner.
pub struct Picture {
    width: u32,
    height: u32,
    shapes: Vec<Shape>,
}

impl Picture {
    /// An empty one.
    pub fn new(width: u32, height: u32) -> Picture {
        Picture { width, height, shapes: Vec::new() }
    }

    /// A filled rectangle, with what it is for whoever points at it.
    pub fn rectangle(
        &mut self,
        (x, y): (u32, u32),
        (width, height): (u32, u32),
        colour: Colour,
        title: &str,
    ) {
        self.shapes.push(Shape::Box { x, y, width, height, colour, title: title.to_string() });
    }

    /// Words in black; the upper left corner of the first letter.
    pub fn words(&mut self, x: u32, y: u32, text: impl Into<String>) {
        self.shapes.push(Shape::Words { x, y, text: text.into() });
    }

    /// As SVG: all rectangles of a colour and title are one path, in the order in which the first ones were drawn, then
    /// the words.
    pub fn svg(&self) -> String {
        let (width, height) = (self.width, self.height);
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
             width=\"{width}\" height=\"{height}\" shape-rendering=\"crispEdges\" \
             font-family=\"monospace\" font-size=\"12\">\n\
             <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
        );
        let mut paths: Vec<((Colour, &str), String)> = Vec::new();
        let mut words = String::new();
        for shape in &self.shapes {
            // Writing to a String cannot fail.
            let _ = match shape {
                Shape::Box { x, y, width, height, colour, title } => {
                    let key = (*colour, title.as_str());
                    let at =
                        paths.iter().position(|(other, _)| *other == key).unwrap_or_else(|| {
                            paths.push((key, String::new()));
                            paths.len() - 1
                        });
                    write!(paths[at].1, "M{x} {y}h{width}v{height}h-{width}z")
                }
                Shape::Words { x, y, text } => writeln!(
                    words,
                    "<text x=\"{x}\" y=\"{}\" xml:space=\"preserve\">{}</text>",
                    y + LETTER + 1,
                    escaped(text)
                ),
            };
        }
        for (([r, g, b], title), path) in paths {
            let title = escaped(title);
            out += &format!(
                "<path fill=\"#{r:02x}{g:02x}{b:02x}\" d=\"{path}\"><title>{title}</title></path>\n"
            );
        }
        out + &words + "</svg>\n"
    }

    /// As PNG: eight bits of red, green and blue for each pixel.
    pub fn png(&self) -> Result<Vec<u8>, png::EncodingError> {
        let (width, height) = (self.width as usize, self.height as usize);
        let mut pixels = vec![255u8; width * height * 3];
        let mut dot = |x: usize, y: usize, colour: Colour| {
            if x < width && y < height {
                let at = (y * width + x) * 3;
                pixels[at..at + 3].copy_from_slice(&colour);
            }
        };
        for shape in &self.shapes {
            match shape {
                Shape::Box { x, y, width, height, colour, .. } => {
                    for y in *y..y + height {
                        (*x..x + width).for_each(|x| dot(x as usize, y as usize, *colour));
                    }
                }
                Shape::Words { x, y, text } => {
                    for (n, letter) in text.chars().enumerate() {
                        let glyph = BASIC_FONTS.get(letter).or(BASIC_FONTS.get('?'));
                        let left = *x as usize + n * LETTER as usize;
                        for (row, bits) in glyph.unwrap_or_default().into_iter().enumerate() {
                            for column in (0..8).filter(|column| bits >> column & 1 != 0) {
                                dot(left + column, *y as usize + row, [0; 3]);
                            }
                        }
                    }
                }
            }
        }
        let mut out = Vec::new();
        let mut encoder = png::Encoder::new(&mut out, self.width, self.height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&pixels)?;
        writer.finish()?;
        Ok(out)
    }
}

/// Without what is markup.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture() -> Picture {
        let mut picture = Picture::new(20, 12);
        picture.rectangle((1, 2), (3, 4), [9, 8, 7], "a & b");
        picture.words(8, 1, "<I");
        picture
    }

    #[test]
    fn words_are_escaped() {
        let svg = picture().svg();
        assert!(svg.contains(">&lt;I</text>"), "{svg}");
        assert!(svg.contains("<title>a &amp; b</title>"), "{svg}");
    }

    #[test]
    fn rectangles_of_a_colour_are_one_path() {
        let mut picture = picture();
        picture.rectangle((5, 2), (3, 4), [1, 2, 3], "a & b");
        picture.rectangle((9, 2), (3, 4), [9, 8, 7], "a & b");
        let svg = picture.svg();
        let path = "<path fill=\"#090807\" d=\"M1 2h3v4h-3zM9 2h3v4h-3z\">";
        assert!(svg.contains(path), "{svg}");
        assert_eq!(svg.matches("<path").count(), 2);
    }

    #[test]
    fn pixels_are_where_they_belong() {
        let bytes = picture().png().unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.width, info.height), (20, 12));
        assert_eq!((info.color_type, info.bit_depth), (png::ColorType::Rgb, png::BitDepth::Eight));
        let pixel = |x: usize, y: usize| &pixels[(y * 20 + x) * 3..][..3];
        assert_eq!(pixel(1, 2), [9, 8, 7]);
        assert_eq!(pixel(3, 5), [9, 8, 7]);
        assert_eq!(pixel(4, 5), [255; 3]);
        assert_eq!(pixel(0, 2), [255; 3]);
        let black = (16..20).any(|x| (1..9).any(|y| pixel(x, y) == [0; 3]));
        assert!(black, "the letter is drawn");
    }
}
