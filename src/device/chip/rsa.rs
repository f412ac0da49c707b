//! Checking RSA signatures: PKCS #1 v1.5 and PSS (RFC 8017), and with message recovery (ISO 9796-2 scheme 1), as active
//! authentication uses it (ICAO 9303 part 11 section 6.1). Only public keys are computed with, so nothing here has to hide.

use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use crypto_bigint::{BoxedUint, Odd};

use super::hash::{Hash, same};

/// The shortest and the longest modulus in bits: the documents say 1024 and more; states sign with up to 6144.
pub const MODULUS: std::ops::RangeInclusive<usize> = 1024..=8192;

/// The longest exponent in bytes; all documents that are known take 65537 or 3, the standards allow more.
const LONGEST_EXPONENT: usize = 32;

/// A public key.
#[derive(Clone)]
pub struct RsaKey {
    params: BoxedMontyParams,
    exponent: BoxedUint,
    /// Bits of the modulus.
    bits: usize,
}

impl RsaKey {
    /// The key of these big-endian numbers; `None` where one is out of bounds, or either is even: with an exponent of one
    /// everything is its own signature.
    pub fn new(modulus: &[u8], exponent: &[u8]) -> Option<Self> {
        let (modulus, exponent) = (trim(modulus), trim(exponent));
        let bits = (modulus.len() * 8).checked_sub(modulus.first()?.leading_zeros() as usize)?;
        if !MODULUS.contains(&bits) || exponent.len() > LONGEST_EXPONENT {
            return None;
        }
        // Three is the least (RFC 8017 section 3.1).
        if exponent.last()? % 2 == 0 || exponent == [1] {
            return None;
        }
        let value = BoxedUint::from_be_slice(modulus, modulus.len() as u32 * 8).ok()?;
        let exponent = BoxedUint::from_be_slice(exponent, exponent.len() as u32 * 8).ok()?;
        let params = BoxedMontyParams::new_vartime(Odd::new(value).into_option()?);
        Some(Self { params, exponent, bits })
    }

    /// Bytes of the modulus, and of a signature.
    pub fn bytes(&self) -> usize {
        self.bits.div_ceil(8)
    }

    /// A number to the power of the exponent, as long as the modulus; `None` where it is not below the modulus.
    pub fn power(&self, number: &[u8]) -> Option<Vec<u8>> {
        let precision = self.params.bits_precision();
        let number = trim(number);
        if number.len() > self.bytes() {
            return None;
        }
        let number = BoxedUint::from_be_slice(number, precision).ok()?;
        if number >= *self.params.modulus().as_ref() {
            return None;
        }
        let power = BoxedMontyForm::new(number, &self.params).pow(&self.exponent).retrieve().to_be_bytes();
        Some(power[power.len().checked_sub(self.bytes())?..].to_vec())
    }

    /// The same for a signature, which must have the length of the modulus.
    fn open(&self, signature: &[u8]) -> Option<Vec<u8>> {
        (signature.len() == self.bytes()).then(|| self.power(signature)).flatten()
    }

    /// Whether this is a signature by RSASSA-PKCS1-v1_5 (RFC 8017 section 8.2.2).
    pub fn verifies_pkcs1(&self, hash: Hash, digest: &[u8], signature: &[u8]) -> bool {
        let Some(message) = self.open(signature) else { return false };
        pkcs1(hash, digest, self.bytes()).is_some_and(|expected| same(&message, &expected))
    }

    /// Whether this is a signature by RSASSA-PSS (RFC 8017 section 8.1.2 and 9.1.2).
    pub fn verifies_pss(&self, pss: Pss, digest: &[u8], signature: &[u8]) -> bool {
        let Some(message) = self.open(signature) else { return false };
        // Where the message has whole bytes one bit less than the modulus, the first byte is empty.
        let bits = self.bits - 1;
        let length = bits.div_ceil(8);
        let (empty, message) = message.split_at(message.len() - length);
        if empty.iter().any(|byte| *byte != 0) {
            return false;
        }
        let hash = pss.hash.bytes();
        if digest.len() != hash || length < hash + pss.salt + 2 || message[length - 1] != 0xbc {
            return false;
        }
        let (masked, rest) = message.split_at(length - hash - 1);
        let found = &rest[..hash];
        let unused = 8 * length - bits;
        if masked[0] & !(0xff >> unused) != 0 {
            return false;
        }
        let mut data: Vec<u8> =
            masked.iter().zip(mask(pss.mask, found, masked.len())).map(|(byte, mask)| byte ^ mask).collect();
        data[0] &= 0xff >> unused;
        let (padding, salt) = data.split_at(data.len() - pss.salt);
        let Some((1, zeros)) = padding.split_last() else { return false };
        zeros.iter().all(|byte| *byte == 0) && same(&pss.hash.of(&[&[0; 8], digest, salt]), found)
    }

    /// Whether this is a signature with recovery over a message whose unrecoverable part is `tail` (ISO 9796-2 scheme 1):
    /// the chip's own random bytes are in the signature, ours are the tail.
    pub fn recovers(&self, tail: &[u8], signature: &[u8]) -> bool {
        let Some(message) = self.open(signature) else { return false };
        let (hash, trailer) = match message[..] {
            [.., 0xbc] => (Hash::Sha1, 1),
            // ISO 10118 numbers the hashes.
            [.., 0x33, 0xcc] => (Hash::Sha1, 2),
            [.., 0x34, 0xcc] => (Hash::Sha256, 2),
            [.., 0x35, 0xcc] => (Hash::Sha512, 2),
            [.., 0x36, 0xcc] => (Hash::Sha384, 2),
            [.., 0x38, 0xcc] => (Hash::Sha224, 2),
            _ => return false,
        };
        // Bits 01 begin it, the third says that there is an unrecoverable part, the fourth nothing, then padding.
        if message[0] & 0xe0 != 0x60 {
            return false;
        }
        let begin = match message[0] & 0x0f {
            0x0a => 1,
            0x0b => match message[1..].iter().position(|byte| *byte != 0xbb) {
                Some(at) if message[1 + at] == 0xba => at + 2,
                _ => return false,
            },
            _ => return false,
        };
        let Some(end) = message.len().checked_sub(hash.bytes() + trailer).filter(|end| *end >= begin) else {
            return false;
        };
        let digest = &message[end..end + hash.bytes()];
        same(&hash.of(&[&message[begin..end], tail]), digest)
    }
}

/// How a signature by RSASSA-PSS is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pss {
    /// Hash of the message.
    pub hash: Hash,
    /// Hash of the mask.
    pub mask: Hash,
    /// Bytes of salt.
    pub salt: usize,
}

/// EMSA-PKCS1-v1_5 (RFC 8017 section 9.2): the padded hash in `length` bytes.
pub fn pkcs1(hash: Hash, digest: &[u8], length: usize) -> Option<Vec<u8>> {
    use super::tlv::object;
    let algorithm = object(0x30, &[&object(6, &[hash.oid()]), &object(5, &[])]);
    let info = object(0x30, &[&algorithm, &object(4, &[digest])]);
    let padding = length.checked_sub(info.len() + 3).filter(|padding| *padding >= 8)?;
    Some([&[0, 1][..], &vec![0xff; padding], &[0], &info].concat())
}

/// MGF1 (RFC 8017 appendix B.2.1).
pub fn mask(hash: Hash, seed: &[u8], length: usize) -> Vec<u8> {
    let mut mask = Vec::with_capacity(length + hash.bytes());
    let mut counter = 0u32;
    while mask.len() < length {
        mask.extend(hash.of(&[seed, &counter.to_be_bytes()]));
        counter += 1;
    }
    mask.truncate(length);
    mask
}

fn trim(bytes: &[u8]) -> &[u8] {
    let first = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    &bytes[first..]
}

#[cfg(test)]
mod tests {
    use super::super::hex;
    use super::*;

    /// Made with OpenSSL over the message "menshen": modulus, exponent; PKCS #1 with SHA-1 and SHA-256; PSS with SHA-256 and
    /// 32 bytes of salt, with MGF1 of SHA-1 and 20 bytes; ISO 9796-2 with SHA-1 and SHA-256 (by Python's own numbers).
    #[rustfmt::skip]
    const SIGNATURES: [(&str, u32, [&str; 6]); 3] = [
        ("f310d77ea5f9774686b16066fda293a4d827b444546cd659a81c7d1a17e50fba17f3aa45cdbdd9baca596672eae3759a228e2bb98da6c9d9b83b1418895ea4a60501b64fdefb87c6a86544c6d80feeae8ee74a92df5ee4d7822170a7e83dce87946626b1866a95a7c8f8c988ea027eb025f7aefba02ff54f620aa6ff105a30e7", 3, [
            "9955c5b5089623d347ad245c4957a9058f8c72c369dffa82f06dc4c642a2322afabe15f697d6c8b805f7c6dc6a5e6a4595038e05e23f8b8ab247566572f354fd9f40099827cbd58fe8dbd76fdd939915a992c511d671d4e9f178942d738c03052841d09dcdd8bea48cf04c19ade65f41cc6ee2c1a4407b4fe3751af9ff0951d0",
            "26669b1e96c8bdc622c66af5b545a4c5a879e5c3fc5bbddaa59e4ee4a062209775e4fd32d47be3018afa07cfbb910228bb10690e85676c776c9994140241ed6ecbce2e9519de878fdea757222b18407db7155802c9032f27a05abdfab799aae2399e5ff4dfb69501730b92695b41d73d75ca9f253c6cc7e7ae6c4796e9bf3381",
            "8652738a5178193114526496b2a5434ae3f4a7d61a961ac4b7dfd37d546c837368caee461fa2893ee6cb16868407e1fcebee1982e1d369968c171361641694a7f32fc4a2d2054ae8611bb00420d39d73e0cf5d9d18297342741caeab878a9e64fce03cc3ec0cef6d5dac585e3b7254ff9fae9e543c9c62df534b214efba84bc1",
            "54f3fab74843dedea64467988cecd66260eb5295e36280278f1fb8d3fb410e4ce1469c1bce6d06eb0d26dafb9d5d07c06aeba15f89a4205ea6c56442ded1702b114229f123bfe7056e393fa41d886f28707afc337590e6255604b1c8fe5526b2ad0f12b2a89c1c2629b7e4c8883815a70402e04ccd81ed8c713b276e6dabbff1",
            "f20ec517e89f9da37a9e5c4c3ca86c1afda3153030a47a4e3f8b955b3fb333544e9df60ea7c73c2a39ecaa2834813e3b78afa444234c0750f098fe7fbb8eca5ea2d90e03773eb753498f1cfa09e5d11d9e4915e3809b047e5a5b26ac32794529abba3a606a1c63773942a5a7160c45a2495c0e978549c371ccdcf7a5204c702c",
            "3a525c30b3366f6a24ccf0ef50a207f83b49737a7ce1e5e3f6907ab47b82494032e52613a6e0667147f73e3facda6afd345144c85012bfc2f271dc8ed4bbb3f88fd3395e9edbbe242e9e3bf807dfce0ef01ac56a6a2c485392d98dc29767e29259d32e4be6fca55e883b0b2ffeac40c416af6474b400fd6e9f827979ed9d82fe",
        ]),
        ("0127dc097cbfce1097cb573e4fa6bfea81b44de9bded25b8358af900a96d7fee01b0cbc8d3eb4f9d51c728420bd0ae05a8bd89e06d214b2b6d628afde8e28d10da8720a10c10f7769bae98f30ddceda3c93a674be5aa49d44cd9e52ff51eb82675a8c611c18d61f764712cdf605d16d961a7a54150e60751a391915b3f30a02cede1", 65537, [
            "011b4c6ed3586feb7c62e9c0ce5fd462d3c8199dc34ccf32eceabe697307bf1843f2808f6e576f408f75004412dfce0aac9098b91778a75cf2c1725a108c6efc25c83b12a910480773f02dae4c036597a84ba93b48ddaba379cddd28318388f8ad92e772e78839c42c0121f18d8dd4313a5ca38dfffea68bbd8e4744a46a7b951901",
            "00c99820195cbccace8d190c41f88508ffd7d742c2cd60e08d773608fba89ecfe8721b49337aab75f25176de074326449b6d7e46089285037a83e78b9e6c7c9fb4d45c34f12e6777cb3f8f7dfc5b212addfea15c1957f097bcce7e080f1d8decfc2f66c6fad2068855175ae92623874ab663d874461a59a92fa1feabfec7b247f0bd",
            "002b150290494233f5e3e9e1c72fd0931df8b14612c0db27fc34488271dfa2adc6608adc90b72d4eca394eeb01188a93de5068c7c13e6fc818130ba771c4781607c93682a6969b5728254289502162fcbec85d2f5aa7439d1952a9aeb81023c487bccf6550516c584b074a80b1a325dd3796697413df46dc8f16f140ed5abb2aab29",
            "00e2db366e8f55fc2b4a11f66141ddc5cee9e11daf86d0a0c52a562218dc32e0587486d8747279b46d36724e2a09c6a6f02031c3d60fa1ea42b17bad7b3d7675d1ddd31ed69ac5de40b054c073f11acfef72a3800c4213a40bf99f0ed7a2c592d540d10d6d1d729fe40453f703ca9ad8cdfb7b2d252c1d727e8235c20d7657ef3bef",
            "",
            "",
        ]),
        ("c45a7716c0c79f784627f44dd1155b4831067a87060a399ea4af62abeb4f7bebd6f99b47bfaa7400b59eaf89d5335be75d0c64f9c4e960be9ffa3d4748688cf8c0f8cb40bc656d9d263d9a8652e1950263bb15045ff6a0ce596075fcff5af878498776c765907ec0764ee845e4bd4b1a7e4fc4439d772b38dd56e2aec28d13fcb9856ca91c0beb9b3f0fa799f64917e22a691b72502e903587644d6331031e091ecbc9a0912256b265cd6b36d082bb6847f349c17a225f0fac319a1fb7ef31e15724955428fbcf6c974500ca5942c065bf63063624bf77be63b9f560b957d20cee531f32cd5ca670ed86bdb0a517cd34d441db01c170e5f28f3eaf9c48c56007", 65537, [
            "435cb3984cf333305070d8cbb8361f6d9ecf820e4771a2bde3bf36cd545a1693849c045006582b48a548223311ec96ce365c6226a960fdd13cad72b1ae50eacd4d2c04917be4f793d7f5b0502975d26256316e3fcfe81aeb375f28f52bf6ecb5c6ab5a856dbdc0c75d1681a6b27bae77359dea7ca16c4581ffdd7d8fd7df82d412739bc617d59d1e741f93597620e21e1f51ebc81593e2dd634114b6c13dfd82ead38a477a87afc17c849c81c9ab7ffb1550259b2f024db00bf06939c4d371d134db11d6ecebdbce174159ca2aa89175961b5219615e2a00d4eb57a8694ab70bc7b4c03daf2cc73ffa200411e80dd98ff34744813d9191803a131eabbb124d7b",
            "430e3d225289c933a038022122cf0e0240369209c74d05adb1cc4d98b3106452293c1c29214e1ed316930d2bd784f8d6de8aa9a5cb38fce9a4ba4f43e9f1addc5471c63f1993e3e41c8c3bf669c99c646f64d3c9517290f6a4228d918bc2d2e45ee655277cbdb7205cbcdac13b3456198f6b739b5564ef8deb37bb135707bcc78d2045846ed59829658ce2b76b0c9ef8abb8e2c234519152865c714ea128426f4c1c0c8e2f07ca258b5d590c6ca31cbac600bed33c86ceb823ac49f6705a5ac533bbc9310293b1cc2e3cb455b5474227f63a305f75c12a98b3c64fc9948466d1e07117522152987106fc0c3bf7f1171501d1a5ff8468f87f19416401cac0ee14",
            "3cd7367eac3e11f9f4f4b8cd0e5847b773df4134479d6b990e6bd896237dd996b94714fca554701f3f54e166b14e6114c8b939827e29c505af9e4a3ccaa9c95c4b84d083c7f04c7a5a83dada67d4486c742053a17bcc8f86744d08803b9a024b8321d3a48f917dc617a5db92a3c41230b6cc25794d361ecdfd093ba12b93e31c1f1e5fb5efa77d7acf02887257dcc22a68b2d4330de6ac18ff95e2ee8ae7fe0b686191ccb274d30f26860f18a863ae23326e9442dff11841ac59d57dd3aa6b2d1993e613325a2ccf3e86152fee1243b607ee3383d4d44a5593b5c19b945834e30d731c61a2a50fce859f53b152564baecb927b23eb672f7bc7d79d785ee59ecc",
            "003b7da170240b5961d3f77bc8bc90bba0b88b5784d876692723b9c90163a48221a932e77c3d477151cb8e4c0b938339525e256cc8ad0ef0d890803c3e0aa5f23b65e7c2d04c8414ceddc8f1141a69bef37aa27af61966210447c0df2b36542ca146a64b182bdca9c0781af329b8aa4566187180268ee2630fa77113ef377429f6430b697fbac6734c4fecfcf159564057e97e6560b4d969bc5a693d64f0342cf3de66a749e5cd067358a96546ba783756331b16b62acdc67b4a95d1041e9f202b77070c965fb4b59ab6ab3752d5b4b2b5c8ed4ee4e4e926e5a26112309432b216cab52dc93bdf0c92a5f12132ca26a3a0f33281421d90717b52d5c9ab5cca43",
            "6a6059df4182355202ad0b16bbc89d7ffbfc8ff5c2c798c27e5091dab478527fddbf6c01aba684444bb0d1841f0960174839ebe879a8b8766ebdd7187f0e5d83666c54cbe0e15c0662f6980ae763772f7138ca7f543d49e45176cdfc3d1c5a6b79b1902d44432d56f7675873394d5a9c32957786058bf2b52eb87f325866b79c05073bc4ef92d211a32cdf447e3fbd57832a8ed9e17a0ef20f7d065f63265d9931d0b871fbd33dc783ed280b1569c91c7f5391fe93bf522c872257dae5a1bb50196f0bc2503031614d1f1dfe7d4298e3f1e863c920158b3426cb6563ef85fc8cce28f039208679dd8e8f837e3611014634561300fb8ae10781e0a3fed22cdb84",
            "252f8f30a46fe824c746d3e8e2d5f535175ab56d0a412ec245c9e5f12c90674cbc727acc7ccdad13c67cc81ad94c81bcc1de671706df6101255ba2057ebc67e5629a1f34da382c203d9268f41c3250ae7ab4338d0fd9c0a4f8f37a374e746b84812e64e09e4ce8558af0d4c6941972df036b8b36e48aef531136021efb97ee6329d0cc581c18c8534929fa8fa622b4a668c3333bf56ca3286fa77e02123142efe12daa4885f9000b1523e1e65399c8a8a87fa144657666761b64a30558ba0f25e41a89aca93c8aa8f6540880386bef45c42b080b0ba882526026f70a0cc86f1ce3b12e6f55bfaddc85c44265d63088f0ab622e0e7132c6bc7cb01921fa56f1a0",
        ]),
    ];

    #[test]
    fn signatures_of_openssl_are_checked() {
        for (modulus, exponent, [sha1, sha256, pss, pss_sha1, recovery, recovery_sha256]) in SIGNATURES {
            let key = RsaKey::new(&hex(modulus), &exponent.to_be_bytes()).unwrap();
            let digest = |hash: Hash| hash.of(&[b"menshen"]);
            let (one, two) = (digest(Hash::Sha1), digest(Hash::Sha256));
            assert!(key.verifies_pkcs1(Hash::Sha1, &one, &hex(sha1)));
            assert!(key.verifies_pkcs1(Hash::Sha256, &two, &hex(sha256)));
            assert!(!key.verifies_pkcs1(Hash::Sha256, &two, &hex(sha1)));
            assert!(!key.verifies_pkcs1(Hash::Sha1, &digest(Hash::Sha224)[..20], &hex(sha1)));
            let usual = Pss { hash: Hash::Sha256, mask: Hash::Sha256, salt: 32 };
            let other = Pss { hash: Hash::Sha256, mask: Hash::Sha1, salt: 20 };
            assert!(key.verifies_pss(usual, &two, &hex(pss)));
            assert!(key.verifies_pss(other, &two, &hex(pss_sha1)));
            assert!(!key.verifies_pss(other, &two, &hex(pss)));
            assert!(!key.verifies_pss(usual, &digest(Hash::Sha512)[..32], &hex(pss)));
            let mut wrong = hex(pss);
            wrong[20] ^= 1;
            assert!(!key.verifies_pss(usual, &two, &wrong));
            assert!(!key.verifies_pss(usual, &two, &hex(pss)[1..]));
            if !recovery.is_empty() {
                let ours = [0, 1, 2, 3, 4, 5, 6, 7];
                assert!(key.recovers(&ours, &hex(recovery)));
                assert!(key.recovers(&ours, &hex(recovery_sha256)));
                assert!(!key.recovers(&[0; 8], &hex(recovery)));
                assert!(!key.recovers(&ours, &hex(sha1)));
            }
        }
    }

    #[test]
    fn keys_out_of_bounds_are_refused() {
        assert!(RsaKey::new(&[0xff; 64], &[3]).is_none());
        assert!(RsaKey::new(&[0xff; 1025], &[3]).is_none());
        assert!(RsaKey::new(&[0xfe; 128], &[3]).is_none());
        for exponent in [&[][..], &[0], &[1], &[0, 1], &[2], &[1, 0], &[0xff, 0xfe]] {
            assert!(RsaKey::new(&[0xff; 128], exponent).is_none(), "{exponent:?}");
        }
        assert!(RsaKey::new(&[0xff; 128], &[1; 33]).is_none());
        let key = RsaKey::new(&[0xff; 128], &[0, 0, 3]).unwrap();
        assert!(key.power(&[0xff; 128]).is_none());
        assert_eq!(key.power(&[2]).unwrap()[127], 8);
    }
}
