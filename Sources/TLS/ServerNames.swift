internal import COpenSSL
internal import Memory
internal import Synchronization

/// What a certificate's key is: of each kind OpenSSL keeps one certificate for a name, and takes the one that the client
/// can verify.
enum KeyKind: Int, CaseIterable {
    case ecdsa, rsa, ed25519, other

    var name: String {
        switch self {
        case .ecdsa: "ECDSA"
        case .rsa: "RSA"
        case .ed25519: "Ed25519"
        case .other: "uncommon"
        }
    }
}

/// The certificates that go with a name, one a kind of key: indices in the settings, -1 for none.
struct CertificateChoice: Hashable {
    private var pairs: (Int16, Int16, Int16, Int16) = (-1, -1, -1, -1)

    subscript(kind: KeyKind) -> Int {
        get {
            switch kind {
            case .ecdsa: Int(pairs.0)
            case .rsa: Int(pairs.1)
            case .ed25519: Int(pairs.2)
            case .other: Int(pairs.3)
            }
        }
        set {
            let pair = Int16(truncatingIfNeeded: newValue)
            switch kind {
            case .ecdsa: pairs.0 = pair
            case .rsa: pairs.1 = pair
            case .ed25519: pairs.2 = pair
            case .other: pairs.3 = pair
            }
        }
    }

    /// Whether any certificate is in both.
    func shares(with other: CertificateChoice) -> Bool {
        (pairs.0 >= 0 && pairs.0 == other.pairs.0) || (pairs.1 >= 0 && pairs.1 == other.pairs.1)
            || (pairs.2 >= 0 && pairs.2 == other.pairs.2) || (pairs.3 >= 0 && pairs.3 == other.pairs.3)
    }

    static func == (left: CertificateChoice, right: CertificateChoice) -> Bool { left.pairs == right.pairs }

    func hash(into hasher: inout Hasher) {
        hasher.combine(pairs.0)
        hasher.combine(pairs.1)
        hasher.combine(pairs.2)
        hasher.combine(pairs.3)
    }
}

/// A name that a certificate is for, in lower case. A wildcard stands for one label before `text` (RFC 9525 §6.3).
struct CertificateName: Hashable {
    let text: [UInt8]
    let isWildcard: Bool
}

struct NameSlot {
    /// Where the name begins in the table's text; the length is -1 in a free slot.
    var start: Int32
    var length: Int32
    var isWildcard: Bool
    /// Which of the server's SSL_CTX answers for it.
    var number: Int32
    var certificates: CertificateChoice
}

/// All names of a server's certificates, in a table that is found in without allocating. Counted by the SSL_CTX that point to
/// it, any of which may be the last.
///
/// Invariant that makes it safe: nothing changes after `make`; at least half of the slots are free, so that each search ends.
@safe struct ServerNames: ~Copyable {
    private let references = Atomic(1)
    private let slots: UnsafeMutablePointer<NameSlot>
    private let mask: Int
    private let text: UnsafeMutablePointer<UInt8>

    static func make(_ names: [CertificateName: (number: Int, certificates: CertificateChoice)])
        -> UnsafeMutablePointer<ServerNames>
    {
        let made = UnsafeMutablePointer<ServerNames>.allocate(capacity: 1)
        unsafe made.initialize(to: ServerNames(names))
        return unsafe made
    }

    private init(_ names: [CertificateName: (number: Int, certificates: CertificateChoice)]) {
        var capacity = 8
        while capacity < 2 * names.count { capacity *= 2 }
        mask = capacity - 1
        unsafe slots = .allocate(capacity: capacity)
        let free = NameSlot(
            start: 0, length: -1, isWildcard: false, number: 0, certificates: CertificateChoice())
        unsafe slots.initialize(repeating: free, count: capacity)
        unsafe text = .allocate(capacity: max(names.keys.reduce(0) { $0 + $1.text.count }, 1))
        var end = 0
        for (name, entry) in names {
            var index = ServerNames.hash(name.text.rawSpan, isWildcard: name.isWildcard) & mask
            while unsafe slots[index].length >= 0 { index = (index + 1) & mask }
            unsafe slots[index] = NameSlot(
                start: Int32(end), length: Int32(name.text.count), isWildcard: name.isWildcard,
                number: Int32(entry.number), certificates: entry.certificates)
            for byte in name.text {
                unsafe (text + end).initialize(to: byte)
                end += 1
            }
        }
    }

    deinit {
        unsafe slots.deallocate()
        unsafe text.deallocate()
    }

    static func retain(_ names: UnsafeMutablePointer<ServerNames>) {
        unsafe names.pointee.references.add(1, ordering: .relaxed)
    }

    static func release(_ names: UnsafeMutablePointer<ServerNames>) {
        guard
            unsafe names.pointee.references.subtract(1, ordering: .acquiringAndReleasing).newValue == 0
        else { return }
        unsafe names.deinitialize(count: 1)
        unsafe names.deallocate()
    }

    // FNV-1a. Nobody outside can fill the table, so that its weakness against chosen names is none here.
    private static func hash(_ name: RawSpan, isWildcard: Bool) -> Int {
        var value: UInt64 = isWildcard ? 0x9ae1_6a3b_2f90_404f : 0xcbf2_9ce4_8422_2325
        for offset in 0..<name.byteCount {
            value = (value ^ UInt64(name[offset].lowercased)) &* 0x0000_0100_0000_01b3
        }
        return Int(truncatingIfNeeded: value ^ (value &>> 32))
    }

    private func slot(of name: RawSpan, isWildcard: Bool) -> Int? {
        guard name.byteCount > 0 else { return nil }
        var index = ServerNames.hash(name, isWildcard: isWildcard) & mask
        while unsafe slots[index].length >= 0 {
            if unsafe slots[index].isWildcard == isWildcard,
                unsafe Int(slots[index].length) == name.byteCount
            {
                let bytes = unsafe RawSpan(
                    _unsafeStart: UnsafeRawPointer(text + Int(slots[index].start)),
                    byteCount: name.byteCount)
                if name.equalsIgnoringCase(bytes) { return index }
            }
            index = (index &+ 1) & mask
        }
        return nil
    }

    /// The ending behind the first label; empty when there is none.
    @_lifetime(copy name)
    private static func ending(of name: RawSpan) -> RawSpan {
        let dot = name.firstIndex(of: UInt8(ascii: "."), from: 0)
        guard dot > 0, dot < name.byteCount else { return name.extracting(0..<0) }
        return name.extracting((dot &+ 1)..<name.byteCount)
    }

    /// The one spelling of an absolute name that is the same name (RFC 6066 §3 has none with the last dot; some send it).
    @_lifetime(copy name)
    private static func withoutLastDot(_ name: RawSpan) -> RawSpan {
        let count = name.byteCount
        return count > 1 && name[count &- 1] == UInt8(ascii: ".") ? name.extracting(0..<(count &- 1)) : name
    }

    /// Which SSL_CTX answers for a name: of an exact one before a wildcard's. `nil` when no certificate is for it.
    func number(for asked: RawSpan) -> Int? {
        let name = ServerNames.withoutLastDot(asked)
        if let slot = slot(of: name, isWildcard: false) { return unsafe Int(slots[slot].number) }
        if let slot = slot(of: ServerNames.ending(of: name), isWildcard: true) {
            return unsafe Int(slots[slot].number)
        }
        return nil
    }

    /// Whether one of `certificates` is for the name.
    func covers(_ asked: RawSpan, by certificates: CertificateChoice) -> Bool {
        let name = ServerNames.withoutLastDot(asked)
        if let slot = slot(of: name, isWildcard: false),
            unsafe slots[slot].certificates.shares(with: certificates)
        {
            return true
        }
        if let slot = slot(of: ServerNames.ending(of: name), isWildcard: true) {
            return unsafe slots[slot].certificates.shares(with: certificates)
        }
        return false
    }
}
