//! Elliptic curves over prime fields as travel documents use them: key agreement for PACE and chip authentication, and
//! checking ECDSA signatures (ICAO 9303 part 11 section 9.6, part 12 section 4.4; BSI TR-03111).
//!
//! One arithmetic for all curves, with the complete addition formulas of Renes, Costello and Batina ("Complete addition
//! formulas for prime order elliptic curves", 2015, algorithm 1): no case is special, so none can be forgotten, and time does
//! not depend on a secret. Only the curves of the table are computed with, also where a certificate spells its curve out: a
//! curve that somebody has made up proves nothing.

use std::sync::LazyLock;

use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{CtSelect as _, Odd, U576};

use super::tlv::object;
use crate::error::{Error, Kind, Result};

/// Value of the object identifier of prime fields.
pub(crate) const PRIME_FIELD: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x01, 0x01];

/// A number that holds a coordinate of every curve.
type Number = U576;
/// A number modulo the prime of a field or the order of a curve.
type Residue = FixedMontyForm<{ Number::LIMBS }>;
type Modulus = FixedMontyParams<{ Number::LIMBS }>;

/// A curve.
pub struct Curve {
    /// Its name.
    pub name: &'static str,
    /// Its number among the standardised domain parameters (part 11 section 9.5.1).
    pub parameter: u8,
    /// Value of its object identifier.
    pub oid: &'static [u8],
    /// Bytes of a coordinate.
    pub bytes: usize,
    /// Bits of the order.
    bits: u32,
    field: Modulus,
    order: Modulus,
    a: Residue,
    b: Residue,
    /// Three times `b`.
    b3: Residue,
    generator: Point,
}

/// A point of a curve, as X/Z and Y/Z; Z is zero at infinity.
#[derive(Clone, Copy)]
pub struct Point {
    x: Residue,
    y: Residue,
    z: Residue,
}

/// A secret number between 1 and the order of a curve.
#[derive(Clone)]
pub struct Secret(Number);

impl std::fmt::Debug for Curve {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// The curves, made ready when the first is used.
static CURVES: LazyLock<Vec<Curve>> = LazyLock::new(|| DOMAINS.iter().map(Curve::new).collect());

impl Curve {
    /// All curves.
    pub fn all() -> &'static [Curve] {
        &CURVES
    }

    /// The curve with this number among the standardised domain parameters.
    pub fn standardised(parameter: u8) -> Option<&'static Curve> {
        CURVES.iter().find(|curve| curve.parameter == parameter)
    }

    /// The curve with this object identifier.
    pub fn from_oid(oid: &[u8]) -> Option<&'static Curve> {
        CURVES.iter().find(|curve| curve.oid == oid)
    }

    /// The curve that these parameters spell out; numbers in big-endian bytes, the point as it is encoded (compressed too).
    pub fn spelled_out(p: &[u8], a: &[u8], b: &[u8], base: &[u8], order: &[u8]) -> Option<&'static Curve> {
        let (p, a, b, order) = (number(p)?, number(a)?, number(b)?, number(order)?);
        let x = number(base.get(1..)?.get(..(base.len() - 1) / if base[0] == 4 { 2 } else { 1 })?)?;
        CURVES.iter().find(|curve| {
            *curve.field.modulus().as_ref() == p
                && curve.a.retrieve() == a
                && curve.b.retrieve() == b
                && curve.generator.x.retrieve() == x
                && *curve.order.modulus().as_ref() == order
        })
    }

    /// The curve spelled out as ECParameters (RFC 3279 section 2.3.5), as ICAO 9303 part 12 wants it in certificates.
    pub fn parameters(&self) -> Vec<u8> {
        let field = |value: &Number| {
            let mut bytes = Vec::new();
            put(&mut bytes, value, self.bytes);
            bytes
        };
        let mut order = vec![0];
        put(&mut order, self.order.modulus().as_ref(), self.order_bytes());
        let base = self.encode(&self.generator).expect("the generator is not at infinity");
        let prime = [&[0][..], &field(self.field.modulus().as_ref())].concat();
        object(
            0x30,
            &[
                &object(2, &[&[1]]),
                &object(0x30, &[&object(6, &[PRIME_FIELD]), &object(2, &[shortest(&prime)])]),
                &object(
                    0x30,
                    &[&object(4, &[&field(&self.a.retrieve())]), &object(4, &[&field(&self.b.retrieve())])],
                ),
                &object(4, &[&base]),
                &object(2, &[shortest(&order)]),
                &object(2, &[&[1]]),
            ],
        )
    }

    fn new(domain: &Domain) -> Self {
        let modulus = |text| Modulus::new(Odd::new(hex(text)).expect("primes of the table are odd"));
        let (field, order) = (modulus(domain.p), modulus(domain.n));
        let residue = |text| Residue::new(&hex(text), &field);
        let b = residue(domain.b);
        Self {
            name: domain.name,
            parameter: domain.parameter,
            oid: domain.oid,
            bytes: domain.p.len() / 2,
            bits: order.modulus().as_ref().bits(),
            a: residue(domain.a),
            b,
            b3: b.add(&b).add(&b),
            generator: Point { x: residue(domain.x), y: residue(domain.y), z: Residue::one(&field) },
            field,
            order,
        }
    }

    /// The point that the standard names.
    pub fn generator(&self) -> &Point {
        &self.generator
    }

    /// Bits of the order.
    pub fn bits(&self) -> u32 {
        self.bits
    }

    /// Bytes of the order: of a secret, and of each half of a signature.
    pub fn order_bytes(&self) -> usize {
        self.bits.div_ceil(8) as usize
    }

    /// A new secret from the operating system's random numbers.
    ///
    /// # Errors
    /// `Io`: there are none.
    pub fn secret(&self) -> Result<Secret> {
        let mut bytes = vec![0; self.order_bytes()];
        loop {
            getrandom::fill(&mut bytes)
                .map_err(|error| Error::caused(Kind::Io, "the system gives no random numbers", error))?;
            bytes[0] &= 0xff >> (self.order_bytes() as u32 * 8 - self.bits);
            if let Some(secret) = self.secret_of(&bytes) {
                return Ok(secret);
            }
        }
    }

    /// The secret with these big-endian bytes; `None` where it is zero or not below the order.
    pub fn secret_of(&self, bytes: &[u8]) -> Option<Secret> {
        self.scalar(bytes).map(Secret)
    }

    /// A number between 1 and the order.
    fn scalar(&self, bytes: &[u8]) -> Option<Number> {
        number(bytes).filter(|value| *value != Number::ZERO && value < self.order.modulus().as_ref())
    }

    /// The point of these bytes (BSI TR-03111 section 3.2.1): uncompressed, on the curve, and not at infinity.
    pub fn point(&self, bytes: &[u8]) -> Option<Point> {
        let (4, both) = bytes.split_first()? else { return None };
        if both.len() != 2 * self.bytes {
            return None;
        }
        let (x, y) = both.split_at(self.bytes);
        let (x, y) = (number(x)?, number(y)?);
        let prime = self.field.modulus().as_ref();
        if x >= *prime || y >= *prime {
            return None;
        }
        let (x, y) = (Residue::new(&x, &self.field), Residue::new(&y, &self.field));
        let right = x.square().add(&self.a).mul(&x).add(&self.b);
        (y.square() == right).then(|| Point { x, y, z: Residue::one(&self.field) })
    }

    /// Both coordinates of a point; `None` at infinity.
    fn affine(&self, point: &Point) -> Option<(Number, Number)> {
        let inverse = point.z.invert().into_option()?;
        Some((point.x.mul(&inverse).retrieve(), point.y.mul(&inverse).retrieve()))
    }

    /// The bytes of a point, uncompressed; `None` at infinity.
    pub fn encode(&self, point: &Point) -> Option<Vec<u8>> {
        let (x, y) = self.affine(point)?;
        let mut bytes = vec![4];
        put(&mut bytes, &x, self.bytes);
        put(&mut bytes, &y, self.bytes);
        Some(bytes)
    }

    /// The first coordinate of a point, as long as the field: what two parties have agreed on. `None` at infinity.
    pub fn x(&self, point: &Point) -> Option<Vec<u8>> {
        let (x, _) = self.affine(point)?;
        let mut bytes = Vec::new();
        put(&mut bytes, &x, self.bytes);
        Some(bytes)
    }

    /// The sum of two points.
    pub fn add(&self, one: &Point, other: &Point) -> Point {
        // Algorithm 1 of the paper, in the order of its lines.
        let (x1, y1, z1) = (&one.x, &one.y, &one.z);
        let (x2, y2, z2) = (&other.x, &other.y, &other.z);
        let (t0, t1, t2) = (x1.mul(x2), y1.mul(y2), z1.mul(z2));
        let t3 = x1.add(y1).mul(&x2.add(y2)).sub(&t0.add(&t1));
        let t4 = x1.add(z1).mul(&x2.add(z2)).sub(&t0.add(&t2));
        let t5 = y1.add(z1).mul(&y2.add(z2)).sub(&t1.add(&t2));
        let z3 = self.b3.mul(&t2).add(&self.a.mul(&t4));
        let (x3, z3) = (t1.sub(&z3), t1.add(&z3));
        let y3 = x3.mul(&z3);
        let at2 = self.a.mul(&t2);
        let t1 = t0.add(&t0).add(&t0).add(&at2);
        let t4 = self.b3.mul(&t4).add(&self.a.mul(&t0.sub(&at2)));
        let y3 = y3.add(&t1.mul(&t4));
        let x3 = t3.mul(&x3).sub(&t5.mul(&t4));
        let z3 = t5.mul(&z3).add(&t3.mul(&t1));
        Point { x: x3, y: y3, z: z3 }
    }

    /// A secret times a point.
    pub fn multiply(&self, secret: &Secret, point: &Point) -> Point {
        self.times(&secret.0, point)
    }

    fn infinity(&self) -> Point {
        Point { x: Residue::zero(&self.field), y: Residue::one(&self.field), z: Residue::zero(&self.field) }
    }

    fn times(&self, scalar: &Number, point: &Point) -> Point {
        let mut sum = self.infinity();
        for bit in (0..self.bits).rev() {
            sum = self.add(&sum, &sum);
            let more = self.add(&sum, point);
            let set = scalar.bit(bit);
            sum = Point {
                x: sum.x.ct_select(&more.x, set),
                y: sum.y.ct_select(&more.y, set),
                z: sum.z.ct_select(&more.z, set),
            };
        }
        sum
    }

    /// The generator that PACE's generic mapping makes of a nonce and a shared point (part 11 section 4.4.3.3.1):
    /// nonce times the generator, plus the point. `None` at infinity.
    pub fn mapped(&self, nonce: &[u8], shared: &Point) -> Option<Point> {
        let nonce = number(nonce)?.rem(self.order.modulus().as_nz_ref());
        let mapped = self.add(&self.times(&nonce, &self.generator), shared);
        self.affine(&mapped).map(|_| mapped)
    }

    /// The hash as a number, cut to the length of the order (BSI TR-03111 section 4.2.1).
    fn digest(&self, hash: &[u8]) -> Number {
        let hash = &hash[..hash.len().min(self.order_bytes())];
        let value = number(hash).expect("a hash was cut to the length of the order");
        let extra = (hash.len() as u32 * 8).saturating_sub(self.bits);
        value.shr(extra)
    }

    /// Whether `r` and `s` are the signature of a hash by the owner of a public key (ECDSA, BSI TR-03111 section 4.2.1).
    pub fn verifies(&self, public: &Point, hash: &[u8], r: &[u8], s: &[u8]) -> bool {
        let (Some(r), Some(s)) = (self.scalar(r), self.scalar(s)) else { return false };
        let residue = |value: &Number| Residue::new(value, &self.order);
        let Some(inverse) = residue(&s).invert().into_option() else { return false };
        let first = residue(&self.digest(hash)).mul(&inverse).retrieve();
        let second = residue(&r).mul(&inverse).retrieve();
        let sum = self.add(&self.times(&first, &self.generator), &self.times(&second, public));
        self.affine(&sum).is_some_and(|(x, _)| x.rem(self.order.modulus().as_nz_ref()) == r)
    }

    /// A signature: `r` and `s`, each as long as the order. The simulated chips sign with it.
    ///
    /// # Errors
    /// `Io`: the system gives no random numbers.
    pub fn sign(&self, secret: &Secret, hash: &[u8]) -> Result<(Vec<u8>, Vec<u8>)> {
        let residue = |value: &Number| Residue::new(value, &self.order);
        loop {
            let nonce = self.secret()?;
            let Some((x, _)) = self.affine(&self.multiply(&nonce, &self.generator)) else { continue };
            let r = x.rem(self.order.modulus().as_nz_ref());
            let Some(inverse) = residue(&nonce.0).invert().into_option() else { continue };
            let s = residue(&r).mul(&residue(&secret.0)).add(&residue(&self.digest(hash))).mul(&inverse);
            let s = s.retrieve();
            if r == Number::ZERO || s == Number::ZERO {
                continue;
            }
            let (mut first, mut second) = (Vec::new(), Vec::new());
            put(&mut first, &r, self.order_bytes());
            put(&mut second, &s, self.order_bytes());
            return Ok((first, second));
        }
    }
}

/// Big-endian bytes as a number; `None` where it is too great for any curve.
fn number(bytes: &[u8]) -> Option<Number> {
    let first = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    let bytes = &bytes[first..];
    let mut whole = [0; Number::BYTES];
    let start = whole.len().checked_sub(bytes.len())?;
    whole[start..].copy_from_slice(bytes);
    Some(Number::from_be_slice(&whole))
}

/// Appends the last `length` bytes of a number, big-endian.
fn put(bytes: &mut Vec<u8>, value: &Number, length: usize) {
    let whole = value.to_be_bytes();
    let whole = whole.as_slice();
    bytes.extend_from_slice(&whole[whole.len() - length..]);
}

/// An integer of DER: big-endian bytes of a positive number without zeros that are not needed.
pub(crate) fn shortest(bytes: &[u8]) -> &[u8] {
    let first = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len().saturating_sub(1));
    // A one at the front would mean a negative number; the caller has put a zero there.
    if bytes.get(first).is_some_and(|byte| *byte >= 0x80) {
        &bytes[first.saturating_sub(1)..]
    } else {
        &bytes[first..]
    }
}

fn hex(text: &str) -> Number {
    Number::from_be_hex(&format!("{text:0>width$}", width = 2 * Number::BYTES))
}

/// Parameters of a curve in hexadecimal digits.
struct Domain {
    name: &'static str,
    parameter: u8,
    oid: &'static [u8],
    p: &'static str,
    a: &'static str,
    b: &'static str,
    x: &'static str,
    y: &'static str,
    n: &'static str,
}

/// FIPS 186-4 appendix D.1.2 and RFC 5639 section 3; all have the cofactor 1.
#[rustfmt::skip]
const DOMAINS: [Domain; 11] = [
    Domain {
        name: "secp192r1",
        parameter: 8,
        oid: &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x01],
        p: "fffffffffffffffffffffffffffffffeffffffffffffffff",
        a: "fffffffffffffffffffffffffffffffefffffffffffffffc",
        b: "64210519e59c80e70fa7e9ab72243049feb8deecc146b9b1",
        x: "188da80eb03090f67cbf20eb43a18800f4ff0afd82ff1012",
        y: "07192b95ffc8da78631011ed6b24cdd573f977a11e794811",
        n: "ffffffffffffffffffffffff99def836146bc9b1b4d22831",
    },
    Domain {
        name: "brainpoolP192r1",
        parameter: 9,
        oid: &[0x2b, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x03],
        p: "c302f41d932a36cda7a3463093d18db78fce476de1a86297",
        a: "6a91174076b1e0e19c39c031fe8685c1cae040e5c69a28ef",
        b: "469a28ef7c28cca3dc721d044f4496bcca7ef4146fbf25c9",
        x: "c0a0647eaab6a48753b033c56cb0f0900a2f5c4853375fd6",
        y: "14b690866abd5bb88b5f4828c1490002e6773fa2fa299b8f",
        n: "c302f41d932a36cda7a3462f9e9e916b5be8f1029ac4acc1",
    },
    Domain {
        name: "secp224r1",
        parameter: 10,
        oid: &[0x2b, 0x81, 0x04, 0x00, 0x21],
        p: "ffffffffffffffffffffffffffffffff000000000000000000000001",
        a: "fffffffffffffffffffffffffffffffefffffffffffffffffffffffe",
        b: "b4050a850c04b3abf54132565044b0b7d7bfd8ba270b39432355ffb4",
        x: "b70e0cbd6bb4bf7f321390b94a03c1d356c21122343280d6115c1d21",
        y: "bd376388b5f723fb4c22dfe6cd4375a05a07476444d5819985007e34",
        n: "ffffffffffffffffffffffffffff16a2e0b8f03e13dd29455c5c2a3d",
    },
    Domain {
        name: "brainpoolP224r1",
        parameter: 11,
        oid: &[0x2b, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x05],
        p: "d7c134aa264366862a18302575d1d787b09f075797da89f57ec8c0ff",
        a: "68a5e62ca9ce6c1c299803a6c1530b514e182ad8b0042a59cad29f43",
        b: "2580f63ccfe44138870713b1a92369e33e2135d266dbb372386c400b",
        x: "0d9029ad2c7e5cf4340823b2a87dc68c9e4ce3174c1e6efdee12c07d",
        y: "58aa56f772c0726f24c6b89e4ecdac24354b9e99caa3f6d3761402cd",
        n: "d7c134aa264366862a18302575d0fb98d116bc4b6ddebca3a5a7939f",
    },
    Domain {
        name: "secp256r1",
        parameter: 12,
        oid: &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07],
        p: "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff",
        a: "ffffffff00000001000000000000000000000000fffffffffffffffffffffffc",
        b: "5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b",
        x: "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296",
        y: "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5",
        n: "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
    },
    Domain {
        name: "brainpoolP256r1",
        parameter: 13,
        oid: &[0x2b, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x07],
        p: "a9fb57dba1eea9bc3e660a909d838d726e3bf623d52620282013481d1f6e5377",
        a: "7d5a0975fc2c3057eef67530417affe7fb8055c126dc5c6ce94a4b44f330b5d9",
        b: "26dc5c6ce94a4b44f330b5d9bbd77cbf958416295cf7e1ce6bccdc18ff8c07b6",
        x: "8bd2aeb9cb7e57cb2c4b482ffc81b7afb9de27e1e3bd23c23a4453bd9ace3262",
        y: "547ef835c3dac4fd97f8461a14611dc9c27745132ded8e545c1d54c72f046997",
        n: "a9fb57dba1eea9bc3e660a909d838d718c397aa3b561a6f7901e0e82974856a7",
    },
    Domain {
        name: "brainpoolP320r1",
        parameter: 14,
        oid: &[0x2b, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x09],
        p: "d35e472036bc4fb7e13c785ed201e065f98fcfa6f6f40def4f92b9ec7893ec28fcd412b1f1b32e27",
        a: "3ee30b568fbab0f883ccebd46d3f3bb8a2a73513f5eb79da66190eb085ffa9f492f375a97d860eb4",
        b: "520883949dfdbc42d3ad198640688a6fe13f41349554b49acc31dccd884539816f5eb4ac8fb1f1a6",
        x: "43bd7e9afb53d8b85289bcc48ee5bfe6f20137d10a087eb6e7871e2a10a599c710af8d0d39e20611",
        y: "14fdd05545ec1cc8ab4093247f77275e0743ffed117182eaa9c77877aaac6ac7d35245d1692e8ee1",
        n: "d35e472036bc4fb7e13c785ed201e065f98fcfa5b68f12a32d482ec7ee8658e98691555b44c59311",
    },
    Domain {
        name: "secp384r1",
        parameter: 15,
        oid: &[0x2b, 0x81, 0x04, 0x00, 0x22],
        p: "fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffeffffffff0000000000000000ffffffff",
        a: "fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffeffffffff0000000000000000fffffffc",
        b: "b3312fa7e23ee7e4988e056be3f82d19181d9c6efe8141120314088f5013875ac656398d8a2ed19d2a85c8edd3ec2aef",
        x: "aa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a385502f25dbf55296c3a545e3872760ab7",
        y: "3617de4a96262c6f5d9e98bf9292dc29f8f41dbd289a147ce9da3113b5f0b8c00a60b1ce1d7e819d7a431d7c90ea0e5f",
        n: "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973",
    },
    Domain {
        name: "brainpoolP384r1",
        parameter: 16,
        oid: &[0x2b, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x0b],
        p: "8cb91e82a3386d280f5d6f7e50e641df152f7109ed5456b412b1da197fb71123acd3a729901d1a71874700133107ec53",
        a: "7bc382c63d8c150c3c72080ace05afa0c2bea28e4fb22787139165efba91f90f8aa5814a503ad4eb04a8c7dd22ce2826",
        b: "04a8c7dd22ce28268b39b55416f0447c2fb77de107dcd2a62e880ea53eeb62d57cb4390295dbc9943ab78696fa504c11",
        x: "1d1c64f068cf45ffa2a63a81b7c13f6b8847a3e77ef14fe3db7fcafe0cbd10e8e826e03436d646aaef87b2e247d4af1e",
        y: "8abe1d7520f9c2a45cb1eb8e95cfd55262b70b29feec5864e19c054ff99129280e4646217791811142820341263c5315",
        n: "8cb91e82a3386d280f5d6f7e50e641df152f7109ed5456b31f166e6cac0425a7cf3ab6af6b7fc3103b883202e9046565",
    },
    Domain {
        name: "brainpoolP512r1",
        parameter: 17,
        oid: &[0x2b, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, 0x0d],
        p: "aadd9db8dbe9c48b3fd4e6ae33c9fc07cb308db3b3c9d20ed6639cca703308717d4d9b009bc66842aecda12ae6a380e62881ff2f2d82c68528aa6056583a48f3",
        a: "7830a3318b603b89e2327145ac234cc594cbdd8d3df91610a83441caea9863bc2ded5d5aa8253aa10a2ef1c98b9ac8b57f1117a72bf2c7b9e7c1ac4d77fc94ca",
        b: "3df91610a83441caea9863bc2ded5d5aa8253aa10a2ef1c98b9ac8b57f1117a72bf2c7b9e7c1ac4d77fc94cadc083e67984050b75ebae5dd2809bd638016f723",
        x: "81aee4bdd82ed9645a21322e9c4c6a9385ed9f70b5d916c1b43b62eef4d0098eff3b1f78e2d0d48d50d1687b93b97d5f7c6d5047406a5e688b352209bcb9f822",
        y: "7dde385d566332ecc0eabfa9cf7822fdf209f70024a57b1aa000c55b881f8111b2dcde494a5f485e5bca4bd88a2763aed1ca2b2fa8f0540678cd1e0f3ad80892",
        n: "aadd9db8dbe9c48b3fd4e6ae33c9fc07cb308db3b3c9d20ed6639cca70330870553e5c414ca92619418661197fac10471db1d381085ddaddb58796829ca90069",
    },
    Domain {
        name: "secp521r1",
        parameter: 18,
        oid: &[0x2b, 0x81, 0x04, 0x00, 0x23],
        p: "01ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        a: "01fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffc",
        b: "0051953eb9618e1c9a1f929a21a0b68540eea2da725b99b315f3b8b489918ef109e156193951ec7e937b1652c0bd3bb1bf073573df883d2c34f1ef451fd46b503f00",
        x: "00c6858e06b70404e9cd9e3ecb662395b4429c648139053fb521f828af606b4d3dbaa14b5e77efe75928fe1dc127a2ffa8de3348b3c1856a429bf97e7e31c2e5bd66",
        y: "011839296a789a3bc0045c8a5fb42c7d1bd998f54449579b446817afbd17273e662c97ee72995ef42640c550b9013fad0761353c7086a272c24088be94769fd16650",
        n: "01fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffa51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409",
    },];

#[cfg(test)]
mod tests {
    use super::super::hex as bytes;
    use super::*;

    #[test]
    fn every_generator_is_on_its_curve_and_has_its_order() {
        for curve in Curve::all() {
            let generator = curve.encode(curve.generator()).unwrap();
            assert!(curve.point(&generator).is_some(), "{curve:?}");
            assert_eq!(generator.len(), 1 + 2 * curve.bytes);
            let order = *curve.order.modulus().as_ref();
            let last = curve.times(&order.wrapping_sub(&Number::ONE), curve.generator());
            // One less than the order times the generator is its negative; once more is infinity.
            assert_eq!(curve.x(&last).unwrap(), generator[1..=curve.bytes], "{curve:?}");
            assert!(curve.encode(&curve.add(&last, curve.generator())).is_none());
            assert_eq!(Curve::from_oid(curve.oid).unwrap().name, curve.name);
            assert_eq!(Curve::standardised(curve.parameter).unwrap().name, curve.name);
        }
    }

    #[test]
    fn points_off_the_curve_are_refused() {
        let curve = Curve::standardised(13).unwrap();
        let mut generator = curve.encode(curve.generator()).unwrap();
        assert!(curve.point(&generator[..64]).is_none());
        generator[40] ^= 1;
        assert!(curve.point(&generator).is_none());
        assert!(curve.point(&[]).is_none());
        assert!(curve.point(&[0]).is_none());
        let beyond = [&[4][..], &[0xff; 64]].concat();
        assert!(curve.point(&beyond).is_none());
    }

    #[test]
    fn agreement_and_mapping_are_the_worked_example() {
        // ICAO 9303 part 11 appendix G.1.
        let curve = Curve::standardised(13).unwrap();
        let secret = curve
            .secret_of(&bytes("7F4EF07B9EA82FD78AD689B38D0BC78CF21F249D953BC46F4C6E19259C010F99"))
            .unwrap();
        let public = curve.multiply(&secret, curve.generator());
        assert_eq!(
            curve.encode(&public).unwrap(),
            bytes(
                "047ACF3EFC982EC45565A4B155129EFBC74650DCBFA6362D896FC70262E0C2CC5E\
                 544552DCB6725218799115B55C9BAA6D9F6BC3A9618E70C25AF71777A9C4922D"
            )
        );
        let chip = curve
            .point(&bytes(
                "04824FBA91C9CBE26BEF53A0EBE7342A3BF178CEA9F45DE0B70AA601651FBA3F57\
                 30D8C879AAA9C9F73991E61B58F4D52EB87A0A0C709A49DC63719363CCD13C54",
            ))
            .unwrap();
        let shared = curve.multiply(&secret, &chip);
        assert_eq!(
            curve.encode(&shared).unwrap(),
            bytes(
                "0460332EF2450B5D247EF6D3868397D398852ED6E8CAF6FFEEF6BF85CA57057FD5\
                 0840CA7415BAF3E43BD414D35AA4608B93A2CAF3A4E3EA4E82C9C13D03EB7181"
            )
        );
        let mapped = curve.mapped(&bytes("3F00C4D39D153F2B2A214A078D899B22"), &shared).unwrap();
        assert_eq!(
            curve.encode(&mapped).unwrap(),
            bytes(
                "048CED63C91426D4F0EB1435E7CB1D74A46723A0AF21C89634F65A9AE87A9265E2\
                 8C879506743F8611AC33645C5B985C80B5F09A0B83407C1B6A4D857AE76FE522"
            )
        );
    }

    #[test]
    fn products_are_those_of_openssl() {
        // Each from OpenSSL 3.0: the public key of this secret, and whether it agrees with another's.
        for (parameter, secret, public) in PRODUCTS {
            let curve = Curve::standardised(parameter).unwrap();
            let secret = curve.secret_of(&bytes(secret)).unwrap();
            let point = curve.multiply(&secret, curve.generator());
            assert_eq!(curve.encode(&point).unwrap(), bytes(public), "{curve:?}");
        }
    }

    #[test]
    fn signatures_are_checked() {
        for (parameter, public, hash, r, s) in SIGNATURES {
            let curve = Curve::standardised(parameter).unwrap();
            let public = curve.point(&bytes(public)).unwrap();
            let (mut hash, r, s) = (bytes(hash), bytes(r), bytes(s));
            assert!(curve.verifies(&public, &hash, &r, &s), "{curve:?}");
            assert!(!curve.verifies(&public, &hash, &s, &r));
            assert!(!curve.verifies(&public, &hash, &[0], &s));
            assert!(!curve.verifies(&public, &hash, &[0xff; 80], &s));
            hash[0] ^= 1;
            assert!(!curve.verifies(&public, &hash, &r, &s));
        }
    }

    #[test]
    fn what_is_signed_here_verifies_here() {
        for curve in Curve::all() {
            let secret = curve.secret().unwrap();
            let public = curve.multiply(&secret, curve.generator());
            let hash = [0xa5; 64];
            let (r, s) = curve.sign(&secret, &hash).unwrap();
            assert_eq!(r.len(), curve.order_bytes());
            assert!(curve.verifies(&public, &hash, &r, &s), "{curve:?}");
        }
    }

    #[rustfmt::skip]
    const PRODUCTS: [(u8, &str, &str); 11] = [
        (8, "a71125643cfb19f19405347dd01d7d2d39cca6aee959a633",
         "0497f18eceed3396e5c0de05444e7cdcaede5c7fd5800632bed935f8c49a39594bcf94f77d9e68bbf71bd2fed130251e4d"),
        (9, "382043059083393b88506e43f395e6966e6f3cb20451ee98",
         "04b97d94c9efe154a86cf41c0ccf23e42abdf6f8ce55856c20c2c0455ae222f5c2fc640a50486326d01a4fb58d6dba0657"),
        (10, "677e9543c9364b87e1f2b6e4ef84bb29bd237781b8b9cb4fbff86be6",
         "0468c6f6c19e0b93ff772d2a41bfa69a31e064a1be190e4d5c12209d5c6c7b027c7c08a4fb346487bc1c4f0e4be1fdf81182f9364a22433d2f"),
        (11, "801fe8d82566dd0a653dc4dbf8f1e401a989797d95c7886981db6560",
         "04d1a5e1caebcee6909d9a4ab3a7337edbf012bd4b17ef916fbdb1c2a8b88e3e96ef51f739f67697378415f023c19e5005681fc3c30c6abbc0"),
        (12, "a08e0e79d6e0cffaeede6220ec2bd4745d4dbce2d02e663a5895938f7c29d7ee",
         "04452ef35090f2c12c39505f07bb93808227cb01dc78a68ebba5d206c10b400271b8a0ba5dd8a70d0c317b70f18d26b9671b69e901b6be93c79a72f6cf42f60c2f"),
        (13, "9cdb29fbcabd3f9b6c27656167b38b916acac0d5ecaf8fcfc9e85c6ab85f89d2",
         "04965dd54bea10640b6b80a3e71c9503ba84058e3ad2ee0207d44b11add77d624b7f11b90a4e902134578de0f06593bb74cf8b2ac6c14435fa9632cea42fe21954"),
        (14, "1c0574a221abc231f1ca7df5843b634221094e1cd23d94d7f02ecdc1aa52aa7a75ad9ba7cf11e1c3",
         "04b40aff3492ec34bf599d004fb6f801003b2b4f9640779d8479cbf61d40ef40592f475b9266857ac44473f438c9b107e20397579a1f8f0904bceca24633ccf2b61ffe4edf7c4bedc0313903b6d7cdb5c3"),
        (15, "72e7a7a7357785979e275257fa50df91daa22c367cdbca56131d21d0a4e634ad468c853d4bbc4941032bf3839d426071",
         "044938235fb8aa00b2a19276027f0907557958a3f2f9a98aeceacc18482ab7c3662e271a685965ae72ece8d549e16e81198f4dc55306bce9d4ace45bf8ebfa5d2da6709f6e9fefd2a78c3825fae17a54800cd3f8a83533e472b7f0a72d93314d7f"),
        (16, "5cc08b56801e44ce09eb7f6180cf85f09b5cf665c1a0b09b4e3efc4f58646c7a65fde76524b60911c7d9fa4ebfd98664",
         "04094f47afd63c328d4c8703289897f57630a9975c6922d34266a022302a2b8148541c5e02b04daed6702191404576cfa026d68bb1894c00bd8a07d2767f945b352858f06913b3f6ae414f09d7ca840314a6a4f35684a4a640a536d31aa71f70fd"),
        (17, "9f9d36cfb5b36071eeeb374dfd40eb446f6fdd6146cc59412ffcb448bcb7906d7e9f0e4f65e562580f3813f3abca85acb78483290d350bdd167f39fb65756cdb",
         "048d8a3b17bd9d739a688bd3141699f27eb55406c7de803d31b77707fc0193768c1998ed2670cce39383843cab385d29bb7b06737eeb55bd5f1601e374e21f1951a14d877a3f05c109c3ebf460c2021072d284dcfc2213d5f0d716a4867b7dfc610fe925986ba131a18f3462681ab643f6630f3be15f9af7531cc2a7e6ef4f8d28"),
        (18, "0196392ece4486cd60a6a34cd1ad7863bf71bf85628af14eca36181c394ec96656e6bc591610154ee202d3aaf22c26bdc122cabb9ef0e3f2af2d3ebe7371b1a89c58",
         "0400599bdff7be7effdb0dcf5ed05145961313e2a324c302d436ac803c82e2694839862f846d9d1a3e5964c07528ccdbe84608c72b1e73285c86ceb73146eb28c3176501f118eae4555cf26662c263071c1b3422e1e43850b63f24304fda3d5415d5ac87965c654b53de30e679865b89f45c67bcf2b3d33f8c608848f41c981bb4facec094"),
    ];

    /// Made with `openssl dgst -sign` over the message "menshen": curve, public key, hash, r, s.
    #[rustfmt::skip]
    const SIGNATURES: [(u8, &str, &str, &str, &str); 11] = [
        (8, "0497f18eceed3396e5c0de05444e7cdcaede5c7fd5800632bed935f8c49a39594bcf94f77d9e68bbf71bd2fed130251e4d",
         "b718eeb7985c434636af06df79ee61453e334529",
         "63b3fc135720352d0fea6e3efc78755c68a9ab0746709c84",
         "05133768465fd0af02797f467bb98683a68f21cd25ebbbc0"),
        (9, "04b97d94c9efe154a86cf41c0ccf23e42abdf6f8ce55856c20c2c0455ae222f5c2fc640a50486326d01a4fb58d6dba0657",
         "b718eeb7985c434636af06df79ee61453e334529",
         "0943fea3083b5345a1afe2e6e742a011ce6cbd14fec3f574",
         "97c7f65bdf20c59e23740e73ff5cb8710523ce137132e4ca"),
        (10, "0468c6f6c19e0b93ff772d2a41bfa69a31e064a1be190e4d5c12209d5c6c7b027c7c08a4fb346487bc1c4f0e4be1fdf81182f9364a22433d2f",
         "a5530f0431b494c0e6d8276083c4a5b8d194e9b937bf00e18935134f",
         "65d494c7d35bad89db04d235b089fa1318d71a861468dcee58b7a0bc",
         "29c65a7778d58a326ea122d0dfd588627f088e5a5ad58da5ebf8cb37"),
        (11, "04d1a5e1caebcee6909d9a4ab3a7337edbf012bd4b17ef916fbdb1c2a8b88e3e96ef51f739f67697378415f023c19e5005681fc3c30c6abbc0",
         "a5530f0431b494c0e6d8276083c4a5b8d194e9b937bf00e18935134f",
         "adb89b160f2dc5a86e800f8fa5d91fbf9499252fce62e1d2ede2c22d",
         "1a2ee84a55619318ed09cd136b20bd67b36122b5d28d21280fb46bb9"),
        (12, "04452ef35090f2c12c39505f07bb93808227cb01dc78a68ebba5d206c10b400271b8a0ba5dd8a70d0c317b70f18d26b9671b69e901b6be93c79a72f6cf42f60c2f",
         "e550c67df9eeae944588e803809e4a045139b65327fb3ff0a378a937ff834839",
         "a5bacf48f1f02d99cafece6ae615cbee1dea0ec08303c0f83783e7934b6acb5c",
         "d3f167f0d6278835cb59c28bf448e24ce28aab27f7522b5d25e20b49c5607598"),
        (13, "04965dd54bea10640b6b80a3e71c9503ba84058e3ad2ee0207d44b11add77d624b7f11b90a4e902134578de0f06593bb74cf8b2ac6c14435fa9632cea42fe21954",
         "c34daed2901f49e499619b568d0a2419e8cef8533a8747dd1c2760216b1acfde25bd36c8280cc8917fd4e58eb571699e3fb75865cd663d0deb4c6f5d2b868167",
         "4223d72d5b646048f7a41618fdcb51ae39a89d0b9e242c9c267f0de862da815f",
         "67ed0d0a2592e2f79e84c0d0f75e78dcfa88d9a368ad9b0c9dd01af092f5f9ac"),
        (14, "04b40aff3492ec34bf599d004fb6f801003b2b4f9640779d8479cbf61d40ef40592f475b9266857ac44473f438c9b107e20397579a1f8f0904bceca24633ccf2b61ffe4edf7c4bedc0313903b6d7cdb5c3",
         "e550c67df9eeae944588e803809e4a045139b65327fb3ff0a378a937ff834839",
         "341e4e08419e868f213833875966fdbd4f067183dacc8f4ab2a5c6932a6bd892a6d5594f4e2619e8",
         "279dd681460bab5f0a1433b306cfabae72640cffde61c9ee3e87f2f2f98f7b5c35b5336c44c73949"),
        (15, "044938235fb8aa00b2a19276027f0907557958a3f2f9a98aeceacc18482ab7c3662e271a685965ae72ece8d549e16e81198f4dc55306bce9d4ace45bf8ebfa5d2da6709f6e9fefd2a78c3825fae17a54800cd3f8a83533e472b7f0a72d93314d7f",
         "5eee08eb2cf8e6cbcf09f42c1b947ad5874d1bd49964cc1f3ff54730398ff408722fdf76be1aae1cca5383fc52c37326",
         "463b11a724315a027979a4452320119bce593f2fa77216130a221c337a0f6df0785f17a5345da6f4abbbbed4bc00a28a",
         "9f397c90f1795093987aa48fc75403e8d8f3c55bfa0b5d80aed2274c340425e5a48e4f11c9b888e3dd877740a1903f9d"),
        (16, "04094f47afd63c328d4c8703289897f57630a9975c6922d34266a022302a2b8148541c5e02b04daed6702191404576cfa026d68bb1894c00bd8a07d2767f945b352858f06913b3f6ae414f09d7ca840314a6a4f35684a4a640a536d31aa71f70fd",
         "5eee08eb2cf8e6cbcf09f42c1b947ad5874d1bd49964cc1f3ff54730398ff408722fdf76be1aae1cca5383fc52c37326",
         "8371e6cc6ed89568c182376f893d75be6420c7853b3cc3507eb5af1c48c647695e6da90132ca10280323ccebb129638e",
         "8af764db6b76e1a2315d72cf9b795108aee5858d7e3cd808da16ac8ac5d36398c9fdce814125a9ff31d48bb23adef409"),
        (17, "048d8a3b17bd9d739a688bd3141699f27eb55406c7de803d31b77707fc0193768c1998ed2670cce39383843cab385d29bb7b06737eeb55bd5f1601e374e21f1951a14d877a3f05c109c3ebf460c2021072d284dcfc2213d5f0d716a4867b7dfc610fe925986ba131a18f3462681ab643f6630f3be15f9af7531cc2a7e6ef4f8d28",
         "c34daed2901f49e499619b568d0a2419e8cef8533a8747dd1c2760216b1acfde25bd36c8280cc8917fd4e58eb571699e3fb75865cd663d0deb4c6f5d2b868167",
         "898dc276ea379e27e6e55a724e3b344263d5f1c94add46cefb527027a03de8889f684155bdcf93686634aea710dbb0894bfbbfe948d6a7e04912357bc8881874",
         "4c426837c2329dd6d3f10327a387cd99a072fbaedd75a2ee4bcaf0d3000dde1d2fb9bc0945ca3ee885077ccd3bf3061156c337bfe61ebd4041ebffbc60c75ccc"),
        (18, "0400599bdff7be7effdb0dcf5ed05145961313e2a324c302d436ac803c82e2694839862f846d9d1a3e5964c07528ccdbe84608c72b1e73285c86ceb73146eb28c3176501f118eae4555cf26662c263071c1b3422e1e43850b63f24304fda3d5415d5ac87965c654b53de30e679865b89f45c67bcf2b3d33f8c608848f41c981bb4facec094",
         "c34daed2901f49e499619b568d0a2419e8cef8533a8747dd1c2760216b1acfde25bd36c8280cc8917fd4e58eb571699e3fb75865cd663d0deb4c6f5d2b868167",
         "06683f1119909008585d210686f86692f76267e71deef196afbd1184e25a97b2926e2688d9b422c685727c03c69ccb9f18a118ec1796929a111fea3ba3fe8ac481",
         "4a7da292de7f81797a788139b81a98ef698de3c15032b3f5331e3c7f15f840e3ec931b71854f739a5f3a1e57c194470dde86e8a25c075004bc6850cc24582981fd"),
    ];
}
