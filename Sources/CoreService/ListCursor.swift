internal import ServiceKit

/// Where a list goes on: the last document that was told, sealed together with whose list it was. A cursor of one account's
/// list opens no other's, and one that was made up opens none.
struct ListCursor: Sendable {
    private static let idLengthBytes = 36
    private static let sealLengthBytes = 16

    /// The store's own secret.
    let key: [UInt8]

    /// `owner`: Whose documents are listed; `nil` = everybody's.
    func text(after id: String, owner: String?) -> String {
        let id = Array(id.utf8)
        return Bytes.base64url(id + seal(id, owner: owner))
    }

    /// The id in a cursor of that list; `nil` for anything else.
    func id(_ text: String, owner: String?) -> String? {
        let length = Self.idLengthBytes + Self.sealLengthBytes
        guard text.utf8.count <= 2 * length, let bytes = Bytes.fromBase64url(text), bytes.count == length
        else {
            return nil
        }
        let id = Array(bytes.prefix(Self.idLengthBytes))
        let shown = Array(bytes.suffix(Self.sealLengthBytes))
        guard Bytes.isEqual(shown, seal(id, owner: owner)) else { return nil }
        return String(decoding: id, as: UTF8.self)
    }

    private func seal(_ id: [UInt8], owner: String?) -> [UInt8] {
        // The id has a fixed length, and the mark tells everybody's list from that of an account with an empty name.
        let list: [UInt8] = if let owner { [1] + Array(owner.utf8) } else { [0] }
        return Array(Bytes.hmacSHA256(key: key, id + list).prefix(Self.sealLengthBytes))
    }
}
