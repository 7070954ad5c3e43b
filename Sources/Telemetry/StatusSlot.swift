/// Where a status is counted: each that is in use has a slot of its own, any other one for its class.
///
/// The known ones are those of the IANA registry, and 499 for a client that went away before its answer.
public enum StatusSlot {
    /// How many slots there are.
    @inlinable public static var count: Int { 64 }

    /// The first of the five slots for the classes 1xx to 5xx.
    @inlinable static var firstClass: Int { 59 }

    @inlinable public static func slot(of status: Int) -> Int {
        switch status {
        case 100: return 0
        case 101: return 1
        case 103: return 2
        case 200: return 3
        case 201: return 4
        case 202: return 5
        case 203: return 6
        case 204: return 7
        case 205: return 8
        case 206: return 9
        case 207: return 10
        case 208: return 11
        case 226: return 12
        case 300: return 13
        case 301: return 14
        case 302: return 15
        case 303: return 16
        case 304: return 17
        case 307: return 18
        case 308: return 19
        case 400: return 20
        case 401: return 21
        case 402: return 22
        case 403: return 23
        case 404: return 24
        case 405: return 25
        case 406: return 26
        case 407: return 27
        case 408: return 28
        case 409: return 29
        case 410: return 30
        case 411: return 31
        case 412: return 32
        case 413: return 33
        case 414: return 34
        case 415: return 35
        case 416: return 36
        case 417: return 37
        case 418: return 38
        case 421: return 39
        case 422: return 40
        case 423: return 41
        case 424: return 42
        case 425: return 43
        case 426: return 44
        case 428: return 45
        case 429: return 46
        case 431: return 47
        case 451: return 48
        case 499: return 49
        case 500: return 50
        case 501: return 51
        case 502: return 52
        case 503: return 53
        case 504: return 54
        case 505: return 55
        case 507: return 56
        case 508: return 57
        case 511: return 58
        default: return slotOfClass(status)
        }
    }

    /// What is no status at all counts as 5xx: only a mistake of ours can bring it here.
    @inlinable static func slotOfClass(_ status: Int) -> Int {
        status >= 100 && status < 600 ? firstClass &+ status / 100 &- 1 : firstClass &+ 4
    }

    /// The text of the `status` label: `404`, or `4xx` for the others of a class. Cold.
    static func label(_ slot: Int) -> String {
        slot < firstClass ? String(known[slot]) : "\(slot - firstClass + 1)xx"
    }

    /// In the order of their slots.
    static let known = [
        100, 101, 103, 200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303, 304, 307, 308,
        400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 418, 421,
        422, 423, 424, 425, 426, 428, 429, 431, 451, 499, 500, 501, 502, 503, 504, 505, 507, 508, 511,
    ]
}
