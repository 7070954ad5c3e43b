import COpenSSL
public import Memory

/// Unpredictable words (`RAND_bytes`), drawn in blocks, for one thread. Not shared.
@safe public struct Random: ~Copyable {
    /// Words drawn at once: a call of `RAND_bytes` costs far more than the bytes that it gives.
    private static let blockWords = 32

    private var words = InlineArray<32, UInt64>(repeating: 0)
    private var used = Random.blockWords

    public init() {}

    /// The next 64 random bits. A word is handed out once, and wiped here.
    public mutating func next() -> UInt64 {
        if used == Random.blockWords { refill() }
        let word = words[used]
        words[used] = 0
        used &+= 1
        return word
    }

    /// Replaces all 64 bytes of `state`.
    public mutating func fill(_ state: inout InlineArray<8, UInt64>) {
        for index in 0..<8 { state[index] = next() }
    }

    /// A keyed hash under a fresh random key.
    public mutating func sipHash() -> SipHash { SipHash(key0: next(), key1: next()) }

    private mutating func refill() {
        unsafe withUnsafeMutableBytes(of: &words) { buffer in
            let bytes = unsafe buffer.baseAddress?.assumingMemoryBound(to: UInt8.self)
            // Fails only when the machine gives no entropy at all. Nothing that needs a secret can go on then.
            let isFilled = unsafe RAND_bytes(bytes, CInt(buffer.count)) == 1
            precondition(isFilled, "RAND_bytes failed")
        }
        used = 0
    }
}
