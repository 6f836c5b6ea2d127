use super::*;
use std::string::{String, ToString};
use std::vec::Vec;

/// A key pair of the specification's test vectors: CCTV, age, `identity` of all files.
const SECRET: &str = "AGE-SECRET-KEY-1XMWWC06LY3EE5RYTXM9MFLAZ2U56JJJ36S0MYPDRWSVLUL66MV4QX3S7F6";

/// Numbers that differ, which is all that tests need.
fn random() -> impl FnMut(&mut [u8]) -> Result<(), ()> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    move |bytes| {
        for byte in bytes {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            *byte = (state >> 56) as u8;
        }
        Ok(())
    }
}

fn identity(n: u8) -> Identity {
    Identity::new([n; 32])
}

/// A sealed file of these bytes.
fn sealed(to: &[Recipient], data: &[u8]) -> Vec<u8> {
    let (header, mut sealer) = seal(to, random()).unwrap();
    let mut file = header.to_vec();
    let mut chunks = data.chunks(CHUNK).peekable();
    if chunks.peek().is_none() {
        file.extend(sealer.seal(&mut [], true).unwrap());
    }
    while let Some(chunk) = chunks.next() {
        let mut chunk = chunk.to_vec();
        let tag = sealer.seal(&mut chunk, chunks.peek().is_none()).unwrap();
        file.extend(chunk);
        file.extend(tag);
    }
    file
}

fn opened(file: &[u8], with: &[Identity]) -> Result<Vec<u8>, String> {
    let (mut opener, start) = open(file, with).map_err(|e| e.to_string())?;
    let mut data = Vec::new();
    let mut chunks = file[start..].chunks(SEALED_CHUNK).peekable();
    while let Some(chunk) = chunks.next() {
        let (body, tag) = chunk.split_last_chunk::<TAG>().ok_or("short")?;
        let mut body = body.to_vec();
        opener.open(&mut body, tag, chunks.peek().is_none()).map_err(|e| e.to_string())?;
        data.extend(body);
    }
    Ok(data)
}

#[test]
fn keys_are_read_and_written() {
    let identity: Identity = SECRET.parse().unwrap();
    let mut text = String::new();
    identity.write_text(&mut text).unwrap();
    assert_eq!(text, SECRET);
    let public = identity.recipient().to_string();
    assert!(public.starts_with("age1") && public.len() == 62, "{public}");
    assert_eq!(public.parse::<Recipient>().unwrap(), identity.recipient());
    assert_eq!(std::format!("{identity:?}"), std::format!("Identity({public})"));
    assert_eq!(SECRET.parse::<Recipient>().unwrap_err(), KeyError::Kind);
    assert_eq!(public.parse::<Identity>().unwrap_err(), KeyError::Kind);
    let wrong = public.replace(&public[30..31], if &public[30..31] == "q" { "p" } else { "q" });
    assert_eq!(wrong.parse::<Recipient>().unwrap_err(), KeyError::Text);
    assert_eq!("".parse::<Recipient>().unwrap_err(), KeyError::Text);
    let mut short = String::new();
    let prefix = bech32::Hrp::parse("age").unwrap();
    bech32::encode_lower_to_fmt::<bech32::Bech32, _>(&mut short, prefix, &[1; 31]).unwrap();
    assert_eq!(short.parse::<Recipient>().unwrap_err(), KeyError::Length);
}

#[test]
fn what_is_sealed_opens_for_each_recipient() {
    let to = [identity(1).recipient(), identity(2).recipient(), identity(3).recipient()];
    for len in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 5] {
        let data: Vec<u8> = (0..len).map(|n| (n / 3) as u8).collect();
        let file = sealed(&to, &data);
        for n in 1..=3 {
            assert!(opened(&file, &[identity(9), identity(n)]).unwrap() == data, "{len}");
        }
        let error = opened(&file, &[identity(4)]).unwrap_err();
        assert_eq!(error, "is sealed to 3 recipients, of whom none has this key");
    }
    let many = [identity(1).recipient(); MOST_RECIPIENTS + 1];
    let (header, _) = seal(&many[1..], random()).unwrap();
    assert_eq!(header.len(), header.capacity());
    assert_eq!(seal(&many, random()).err(), Some(SealError::Recipients));
    assert_eq!(seal(&[], random()).err(), Some(SealError::Recipients));
    let none: Recipient = Recipient([0; 32]);
    assert_eq!(seal(&[none], random()).err(), Some(SealError::Weak));
    assert_eq!(seal(&to, |_| Err("empty")).err(), Some(SealError::Random("empty")));
}

#[test]
fn every_changed_byte_is_noticed() {
    let data = [7; 100];
    let file = sealed(&[identity(1).recipient()], &data);
    for at in 0..file.len() {
        let mut bad = file.clone();
        bad[at] ^= 1 << (at % 8);
        assert!(opened(&bad, &[identity(1)]).is_err(), "byte {at}");
    }
}

#[test]
fn chunks_are_taken_in_their_places_only() {
    let data: Vec<u8> = (0..3 * CHUNK).map(|n| (n / 1000) as u8).collect();
    let file = sealed(&[identity(1).recipient()], &data);
    let start = file.len() - 3 * SEALED_CHUNK;
    let of = |order: &[usize]| {
        let mut other = file[..start].to_vec();
        order.iter().for_each(|n| other.extend(&file[start + n * SEALED_CHUNK..][..SEALED_CHUNK]));
        opened(&other, &[identity(1)])
    };
    assert!(of(&[0, 1, 2]).unwrap() == data);
    for (order, chunk) in
        [(&[1, 0, 2][..], 0), (&[0, 0, 2], 1), (&[0, 2], 1), (&[0, 1], 1), (&[0, 1, 2, 2], 2)]
    {
        assert_eq!(
            of(order).unwrap_err(),
            std::format!("chunk {chunk} is not what was sealed"),
            "{order:?}"
        );
    }
}

#[test]
fn a_cut_header_or_one_of_others_is_told() {
    let file = sealed(&[identity(1).recipient()], b"x");
    let start = file.len() - 1 - TAG;
    for len in 0..start {
        let error = open(&file[..len], &[identity(1)]).err().unwrap();
        let wanted = if len < 21 { OpenError::NotSealed } else { OpenError::Cut };
        assert_eq!(error, wanted, "{len}");
    }
    let lines = |text: &str| open(text.as_bytes(), &[identity(1)]).err().unwrap();
    let v1 = "age-encryption.org/v1\n";
    assert_eq!(lines("age-encryption.org/v2\n"), OpenError::NotSealed);
    assert_eq!(lines("age-encryption.org/v10\n"), OpenError::NotSealed);
    assert_eq!(lines(&[v1, "-> X25519\nAAAA\n"].concat()), OpenError::Line { line: 3 });
    assert_eq!(lines(&[v1, "x\n"].concat()), OpenError::Line { line: 2 });
    assert_eq!(lines(&[v1, "--- AAAA\n"].concat()), OpenError::Line { line: 2 });
    let mac = "A".repeat(43);
    let other = [v1, "-> scrypt a 18\n", &"B".repeat(64), "\n\n--- ", &mac, "\n"].concat();
    assert_eq!(lines(&other), OpenError::NoIdentity { recipients: 0, others: 1 });
    let long = [v1, &"-> x\n\n".repeat(HEADER_MOST)].concat();
    assert_eq!(lines(&long), OpenError::Cut);
}
