internal import Backbone
internal import Foundation
internal import ServiceKit

/// Bounds of schedules. Each has its answer when it is reached.
struct ScheduleLimits: Sendable {
    /// More are refused with 403.
    var perOwner = 20
    /// Of everybody; more are refused with 503.
    var inAll = 100_000
    /// Ticks of one transaction.
    var batch = 100
    /// The loop looks at the clock this often at least: the wall clock may be put forward.
    var longestWait: Duration = .seconds(30)
    /// After a failure of the store, or while the outbox is full.
    var pause: Duration = .seconds(1)
}

/// When a schedule is due, as its owner wrote it.
struct ScheduleRule: Equatable, Sendable {
    /// Why a text is no rule; in words for its owner.
    struct Refusal: Error, Equatable {
        let description: String
    }

    /// Five fields of crontab(5), and the name of the time zone that they are of; or seconds.
    enum Form: Equatable, Sendable {
        case cron(String, zone: String)
        case every(seconds: Int64)
    }

    let form: Form
    let timetable: Timetable

    private static let zones = Set(TimeZone.knownTimeZoneIdentifiers).union(["UTC"])

    init(_ form: Form) throws(Refusal) {
        self.form = form
        switch form {
        case .every(let seconds):
            let range = Timetable.intervalsSeconds
            guard range.contains(seconds) else {
                throw Refusal(
                    description: "every must be from \(range.lowerBound) to \(range.upperBound) seconds")
            }
            timetable = .interval(seconds: seconds)
        case .cron(let text, let zone):
            // A name of the list and nothing else: it may be looked up as a file's.
            guard Self.zones.contains(zone), let found = TimeZone(identifier: zone) else {
                throw Refusal(description: "timeZone must be a name of the IANA time zone database")
            }
            do throws(CronExpression.Refusal) {
                timetable = .cron(try CronExpression(text), found)
            } catch {
                throw Refusal(description: "cron: \(error.description)")
            }
        }
    }

    /// The first tick after a time, both in Unix milliseconds.
    func next(after time: Int64, madeAt: Int64) -> Int64? {
        timetable.next(after: time / 1_000, anchor: madeAt / 1_000).map { $0 * 1_000 }
    }
}

/// A job that is ordered again and again.
struct Schedule: Equatable, Sendable {
    let id: String
    let owner: String
    let form: ScheduleRule.Form
    let kind: String
    let payload: JSONText
    /// `nil` when it will never be due again; `error` says why.
    let nextAt: Int64?
    let lastAt: Int64?
    let lastJob: String?
    let error: String?
    let createdAt: Int64
}
