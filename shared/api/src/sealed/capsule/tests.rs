use data_encoding::HEXLOWER;
use hpke::aead::AesGcm128;

use super::super::keys::ControlSecret;
use super::*;

/// The suite of the vectors of RFC 9458, appendix A.
struct OfTheRfc;

impl Suite for OfTheRfc {
    type Hpke = AesGcm128;
    type Cipher = aes_gcm::Aes128Gcm;
    const KEY: usize = 16;
}

fn hex(text: &str) -> Vec<u8> {
    HEXLOWER.decode(text.as_bytes()).unwrap()
}

fn secrets() -> ControlSecrets {
    ControlSecrets::default().with_new([7; 32]).unwrap()
}

fn sealed(message: &[u8], random: u8) -> (Vec<u8>, Asked) {
    seal(&secrets().public()[0], message, [random; 32]).unwrap()
}

#[test]
fn a_request_and_its_answer_are_as_in_rfc_9458_appendix_a() {
    let secret = hex("3c168975674b2fa8e465970b79c8dcf09f1c741626480bd4c6162fc5b6a98e1a");
    let capsule = hex(concat!(
        "010020000100014b28f881333e7c164ffc499ad9796f877f4e1051ee6d31bad19dec96c208b472",
        "6374e469135906992e1268c594d2a10c695d858c40a026e7965e7d86b83dd440b2c0185204b4d63525"
    ));
    let secret = secret.try_into().unwrap();

    let (message, context) = open_with::<OfTheRfc>(1, &secret, &capsule).unwrap();
    let answer = context.seal(&hex("0140c8"), &hex("c789e7151fcba46158ca84b04464910d"));

    assert_eq!(
        message,
        hex("00034745540568747470730b6578616d706c652e636f6d012f")
    );
    assert_eq!(
        HEXLOWER.encode(&answer),
        "c789e7151fcba46158ca84b04464910d86f9013e404feea014e7be4a441f234f857fbd"
    );
}

/// The vector of our suite in base mode, its randomness given as ours is.
#[test]
fn the_key_that_is_encapsulated_and_what_is_sealed_are_as_in_rfc_9180_appendix_a_2_1() {
    let random = hex("909a9b35d3dc4713a5e72a4da274b55d3d3821a37e5d099e74a647db583a904b");
    let recipient = hex("4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a");
    let recipient = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(&recipient).unwrap();

    let (encapsulated, mut sender) =
        hpke::setup_sender_with_rng::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
            &OpModeS::Base,
            &recipient,
            &hex("4f6465206f6e2061204772656369616e2055726e"),
            &mut Once(Some(random.try_into().unwrap())),
        )
        .unwrap();
    let sealed = sender.seal(b"Beauty is truth, truth beauty", b"Count-0");
    let mut exported = [0; 32];
    sender.export(b"", &mut exported).unwrap();

    assert_eq!(
        HEXLOWER.encode(&encapsulated.to_bytes()),
        "1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a"
    );
    assert_eq!(
        HEXLOWER.encode(&sealed.unwrap()),
        concat!(
            "1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db",
            "21993c62ce81883d2dd1b51a28"
        )
    );
    assert_eq!(
        HEXLOWER.encode(&exported),
        "4bbd6243b8bb54cec311fac9df81841b6fd61f56538a775e7c80a9f40160606e"
    );
}

#[test]
fn a_request_reaches_the_control_plane_and_its_answer_comes_back() {
    let (capsule, asked) = sealed(b"who goes there", 1);

    let (message, opened) = open(&secrets(), &capsule).unwrap();
    let answer = opened.seal(b"a friend", [2; 32]);

    assert_eq!(message, b"who goes there");
    assert_eq!(asked.open(&answer).unwrap(), b"a friend");
    assert_eq!(capsule.len(), message.len() + MOST_OVERHEAD);
}

#[test]
fn a_capsule_that_was_changed_anywhere_is_refused_alike_but_for_the_key_s_number() {
    let (capsule, _) = sealed(b"who goes there", 1);
    for place in 0..capsule.len() {
        let mut changed = capsule.clone();
        changed[place] ^= 0x40;
        let expected = if place == 0 {
            Refused::UnknownKey(capsule[0] ^ 0x40)
        } else {
            Refused::Broken
        };
        assert_eq!(open(&secrets(), &changed).err(), Some(expected), "{place}");
    }
    for length in 0..capsule.len() {
        let cut = open(&secrets(), &capsule[..length]);
        assert_eq!(cut.err(), Some(Refused::Broken), "{length}");
    }
    let longer = [&capsule[..], &[0]].concat();
    assert_eq!(open(&secrets(), &longer).err(), Some(Refused::Broken));
}

#[test]
fn an_answer_opens_for_its_own_request_alone_and_unchanged() {
    let (capsule, asked) = sealed(b"who goes there", 1);
    let (_, other) = sealed(b"who goes there", 2);
    let answer = open(&secrets(), &capsule).unwrap().1.seal(b"you", [3; 32]);

    assert_eq!(other.open(&answer), None);
    for place in 0..answer.len() {
        let mut changed = answer.clone();
        changed[place] ^= 1;
        assert_eq!(asked.open(&changed), None, "{place}");
        assert_eq!(asked.open(&answer[..place]), None, "{place}");
    }
    assert_eq!(asked.open(&answer).as_deref(), Some(&b"you"[..]));
}

#[test]
fn nothing_is_sealed_to_a_key_of_small_order() {
    // Every secret is the same with it (RFC 9180, section 7.1.4).
    for key in [[0; 32], {
        let mut one = [0; 32];
        one[0] = 1;
        one
    }] {
        assert!(seal(&ControlKey::new(1, key), b"x", [1; 32]).is_none());
    }
}

#[test]
fn a_key_that_was_taken_out_is_unknown_and_the_others_go_on() {
    let both = secrets().with_new([8; 32]).unwrap();
    let [new, old] = both.public()[..] else {
        panic!("two keys")
    };
    let (to_old, _) = seal(&old, b"x", [1; 32]).unwrap();
    let (to_new, _) = seal(&new, b"x", [2; 32]).unwrap();

    assert!(open(&both, &to_old).is_ok() && open(&both, &to_new).is_ok());
    let left = both.without(old.id());
    assert_eq!(
        open(&left, &to_old).err(),
        Some(Refused::UnknownKey(old.id()))
    );
    assert!(open(&left, &to_new).is_ok());
    // The same number with another secret: as any capsule that is not ours.
    let renamed = ControlSecret::from_random(old.id(), [9; 32]);
    let renamed = ControlSecrets::new(vec![renamed]).unwrap();
    assert_eq!(open(&renamed, &to_old).err(), Some(Refused::Broken));
}
