"""Beginning, going on, and what is kept when a step is refused."""

import hashlib
import json

from case import Case
from repository import days
from securesystemslib.formats import encode_canonical
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import MetaFile


class Beginning(Case):
    def test_a_refresh_asks_for_the_next_root_and_then_for_each_role_once(self):
        repo = self.start()
        self.assertEqual(repo.asked, [])
        self.succeeds(self.refresh())
        self.assertEqual(repo.asked_roles(), ["2.root", "timestamp", "1.snapshot", "1.targets"])
        self.assert_trusts(1, 1, 1, 1)
        self.assert_keeps_bytes("root", "timestamp", "snapshot", "targets")

    def test_without_consistent_snapshots_names_have_no_versions(self):
        repo = self.start(consistent=False)
        repo.add_file("folder/file", b"content")
        repo.publish_all()
        self.succeeds(self.download("folder/file"))
        self.assertEqual(repo.asked_roles()[:4], ["2.root", "timestamp", "snapshot", "targets"])
        self.assertEqual(repo.asked[-1], "targets/folder/file")
        self.assertEqual(self.downloaded(), [b"content"])

    def test_a_download_refreshes_first(self):
        repo = self.start()
        self.fails(self.download("no such file"))
        self.assertEqual(repo.asked_roles(), ["2.root", "timestamp", "1.snapshot", "1.targets"])
        self.assert_trusts(1, 1, 1, 1)
        self.assert_keeps_bytes("root", "timestamp", "snapshot", "targets")

    def test_a_first_root_that_is_damaged_or_signed_by_nobody_is_no_beginning(self):
        repo = self.start(init=False)
        damaged = json.loads(repo.files["metadata/1.root.json"])
        del damaged["signed"]["version"]
        unsigned = json.loads(repo.files["metadata/1.root.json"])
        sig = unsigned["signatures"][0]["sig"]
        # Another last byte, whatever it was.
        unsigned["signatures"][0]["sig"] = sig[:-2] + f"{int(sig[-2:], 16) ^ 1:02x}"
        for root in (damaged, unsigned):
            self.init(json.dumps(root).encode())
            self.fails(self.refresh())
            self.assertEqual(repo.asked, [])

    def test_the_second_refresh_asks_for_no_more_than_root_and_timestamp(self):
        for hashes in (False, True):
            repo = self.start(hashes=hashes)
            self.succeeds(self.refresh())
            self.succeeds(self.refresh())
            self.assertEqual(repo.asked_roles(), ["2.root", "timestamp"])

    def test_unknown_fields_are_kept_and_signed(self):
        repo = self.start()
        repo.root.unrecognized_fields["x"] = {"a": [1, None, True]}
        key = repo.root.roles["root"].keyids[0]
        repo.root.keys[key].unrecognized_fields["y"] = "ü"
        repo.root.roles["root"].unrecognized_fields["z"] = 2
        repo.timestamp.unrecognized_fields["x"] = "y"
        repo.publish("root", "timestamp")
        self.succeeds(self.refresh())
        self.assert_trusts(2, 2, 1, 1)
        self.assert_keeps_bytes("root", "timestamp")

    def test_a_key_with_unknown_fields_which_its_id_covers_signs(self):
        for field in ({"x": {"a": 1, "b": [2]}}, {"keyid_hash_algorithms": "md5"}):
            repo = self.start()
            self.succeeds(self.refresh())
            for role in ("root", "snapshot"):
                signer = CryptoSigner.generate_ecdsa()
                key = signer.public_key
                key.unrecognized_fields = dict(field)
                key.keyid = hashlib.sha256(encode_canonical(key.to_dict()).encode()).hexdigest()
                repo.add_key(role, signer)
                repo.root.roles[role].threshold = 2
            repo.publish("root", "snapshot", "timestamp")
            self.succeeds(self.refresh())
            self.assert_trusts(2, 2, 2, 1)

    def test_a_new_snapshot_that_pins_the_known_targets_asks_for_no_targets(self):
        repo = self.start()
        self.succeeds(self.refresh())
        repo.targets.expires = days(-5)
        repo.publish("snapshot", "timestamp")
        self.succeeds(self.refresh())
        self.assertEqual(repo.asked_roles()[-1], "2.snapshot")
        self.assert_trusts(1, 2, 2, 1)

    def test_the_bytes_that_came_are_kept(self):
        repo = self.start()
        repo.files["metadata/timestamp.json"] += b" \n"
        self.succeeds(self.refresh())
        kept = (self.metadata / "timestamp.json").read_bytes()
        self.assertEqual(kept, repo.files["metadata/timestamp.json"])

    def test_a_specification_of_another_major_version_is_refused(self):
        repo = self.start()
        repo.timestamp.spec_version = "1.99.0"
        repo.publish("timestamp")
        self.succeeds(self.refresh())
        repo.timestamp.spec_version = "2.0.0"
        repo.publish("timestamp")
        self.fails(self.refresh())
        self.assert_trusts(1, 2, 1, 1)


class Partial(Case):
    """What was verified before the step that failed is kept, and gone on from."""

    def test_each_step_that_is_missing_leaves_those_before_it(self):
        kept = [(2,), (2, 2), (2, 2, 2), (2, 2, 2, 2)]
        gone = ["timestamp.json", "2.snapshot.json", "2.targets.json"]
        for missing, left in zip(gone, kept):
            repo = self.start()
            repo.publish("root", "targets", "snapshot", "timestamp")
            content = repo.files.pop(f"metadata/{missing}")
            self.fails(self.refresh())
            self.assert_trusts(*left)
            # Once it is there, the client goes on.
            repo.files[f"metadata/{missing}"] = content
            self.succeeds(self.refresh())
            self.assert_trusts(2, 2, 2, 2)

    def test_each_step_that_is_missing_leaves_what_was_known_of_it_and_after_it(self):
        for missing, asked, left in (
            ("timestamp", "timestamp", (2, 1, 1, 1)),
            ("snapshot", "2.snapshot", (2, 2, 1, 1)),
            ("targets", "2.targets", (2, 2, 2, 1)),
        ):
            repo = self.start()
            self.succeeds(self.refresh())
            repo.publish("root", "targets", "snapshot", "timestamp")
            repo.files.pop(f"metadata/{asked}.json")
            self.fails(self.refresh())
            self.assertEqual(repo.asked_roles()[-1], asked, missing)
            self.assert_trusts(*left)

    def test_a_pin_of_a_version_that_is_nowhere_leaves_what_was_known(self):
        repo = self.start()
        self.succeeds(self.refresh())
        repo.timestamp.snapshot_meta.version += 1
        repo.publish("timestamp")
        self.fails(self.refresh())
        self.assertEqual(repo.asked_roles()[-1], "2.snapshot")
        self.assert_trusts(1, 2, 1, 1)

    def test_a_server_error_is_no_end_of_the_roots(self):
        self.start()
        self.door.faults["metadata/2.root.json"] = 500
        self.fails(self.refresh())
        self.assert_trusts(1)

    def test_a_bucket_that_shows_no_list_says_403_of_what_it_has_not(self):
        self.start()
        self.door.faults["metadata/2.root.json"] = 403
        self.succeeds(self.refresh())

    def test_a_refused_snapshot_leaves_the_new_timestamp(self):
        repo = self.start()
        self.succeeds(self.refresh())
        repo.publish("snapshot", "timestamp")
        repo.files["metadata/2.snapshot.json"] = repo.files["metadata/1.snapshot.json"]
        self.fails(self.refresh())
        self.assert_trusts(1, 2, 1, 1)

    def test_a_refused_targets_leaves_the_new_snapshot(self):
        repo = self.start()
        self.succeeds(self.refresh())
        repo.publish_all()
        repo.files["metadata/2.targets.json"] = repo.files["metadata/1.targets.json"]
        self.fails(self.refresh())
        self.assert_trusts(1, 2, 2, 1)

    def test_after_a_stop_between_timestamp_and_snapshot_the_old_snapshot_still_is_a_floor(self):
        repo = self.start()
        repo.publish_all()
        self.succeeds(self.refresh())
        self.assert_trusts(1, 2, 2, 2)
        # The timestamp is taken, the snapshot is not there yet.
        repo.publish("snapshot", "timestamp")
        repo.files.pop("metadata/3.snapshot.json")
        self.fails(self.refresh())
        self.assert_trusts(1, 3, 2, 2)
        # Now a snapshot that takes targets back.
        repo.targets.version = 0
        repo.publish_all()
        self.fails(self.refresh())
        self.assert_trusts(1, 4, 2, 2)


    def test_a_role_that_nobody_signed_leaves_those_before_it(self):
        for role, left in (
            ("root", (1,)),
            ("timestamp", (2,)),
            ("snapshot", (2, 2)),
            ("targets", (2, 2, 2)),
        ):
            repo = self.start()
            repo.signers[role] = []
            repo.publish("root", "targets", "snapshot", "timestamp")
            self.fails(self.refresh())
            self.assert_trusts(*left)

    def test_a_role_whose_name_says_another_version_leaves_those_before_it(self):
        for role, left in (("root", (1,)), ("snapshot", (2, 2)), ("targets", (2, 2, 2))):
            repo = self.start()
            repo.publish("root", "targets", "snapshot", "timestamp")
            repo.roles[role].version = 3
            repo.files[f"metadata/2.{role}.json"] = repo.sign(role)
            self.fails(self.refresh())
            self.assert_trusts(*left)

    def test_a_snapshot_is_no_timestamp(self):
        repo = self.start()
        repo.root.add_key(repo.signers["timestamp"][0].public_key, "snapshot")
        repo.signers["snapshot"].extend(repo.signers["timestamp"])
        repo.snapshot.meta = {"snapshot.json": MetaFile(1)}
        repo.publish("root", "snapshot")
        repo.files["metadata/timestamp.json"] = repo.before["snapshot"]
        self.fails(self.refresh())
        self.assert_trusts(2)


class Pins(Case):
    def test_a_timestamp_of_the_same_version_and_other_content_changes_nothing(self):
        repo = self.start()
        self.succeeds(self.refresh())
        before = (self.metadata / "timestamp.json").read_bytes()
        repo.timestamp.snapshot_meta = MetaFile(100)
        repo.publish("timestamp", bump=False)
        self.succeeds(self.refresh())
        self.assertEqual(repo.asked_roles()[-1], "timestamp")
        self.assertEqual((self.metadata / "timestamp.json").read_bytes(), before)

    def test_targets_that_do_not_have_their_pinned_hash_or_length_are_refused(self):
        for change in ({"hashes": {"sha256": "46" * 32}}, {"length": 10}):
            repo = self.start(hashes=True)
            repo.publish_all()
            self.succeeds(self.refresh())
            repo.publish("targets")
            for field, value in change.items():
                setattr(repo.snapshot.meta["targets.json"], field, value)
            repo.publish("snapshot", "timestamp")
            self.fails(self.refresh())
            self.assert_trusts(1, 3, 3, 2)

    def test_metadata_that_does_not_have_its_pinned_hash_length_or_version_is_refused(self):
        repo = self.start(hashes=True)
        self.succeeds(self.refresh())
        for change in ("hashes", "length", "version"):
            repo.publish_all()
            pin = repo.timestamp.snapshot_meta
            if change == "hashes":
                pin.hashes = {"sha256": "0" * 64}
            elif change == "length":
                pin.length -= 1
            else:
                pin.version += 1
                repo.files[f"metadata/{pin.version}.snapshot.json"] = repo.before["snapshot"]
            repo.publish("timestamp")
            self.fails(self.refresh())
            self.assertEqual(self.trusted()["snapshot"], 1, change)

    def test_targets_that_do_not_have_their_pinned_version_are_refused(self):
        repo = self.start()
        self.succeeds(self.refresh())
        repo.targets.version = 3
        repo.files["metadata/2.targets.json"] = repo.sign("targets")
        repo.snapshot.meta["targets.json"] = MetaFile(2)
        repo.publish("snapshot", "timestamp")
        self.fails(self.refresh())
        self.assert_trusts(1, 2, 2, 1)

    def test_of_several_hashes_every_known_one_must_match_and_one_must_be_known(self):
        for hashes, right in (
            ({"sha256": None, "blake9": "00"}, True),
            ({"sha256": None, "sha512": "00" * 64}, False),
            ({"blake9": "00"}, False),
        ):
            repo = self.start(hashes=True)
            pin = repo.timestamp.snapshot_meta
            pin.hashes = {name: value or pin.hashes["sha256"] for name, value in hashes.items()}
            repo.publish("timestamp")
            (self.succeeds if right else self.fails)(self.refresh())

    def test_endless_metadata_is_cut_off(self):
        repo = self.start()
        limits = {"timestamp": 16_384, "2.root": 512_000, "1.snapshot": 2_000_000}
        for name, most in limits.items():
            sent = []

            def endless(handler, sent=sent):
                handler.send_response(200)
                handler.end_headers()
                try:
                    while sum(sent) < 50_000_000:
                        sent.append(handler.wfile.write(b" " * 65_536))
                except OSError:
                    pass

            self.door.faults = {f"metadata/{name}.json": endless}
            self.fails(self.refresh())
            # What lies in the buffers of the two kernels may have been sent.
            self.assertLess(sum(sent), most + 8_000_000, name)
        self.door.faults = {}
        self.succeeds(self.refresh())
        self.assertEqual(repo.asked_roles()[-1], "1.targets")


# A role whose versions somebody has made enormous, and whose keys are replaced for it.
RECOVERIES = (
    ("timestamp", ["timestamp"]),
    ("snapshot", ["snapshot", "timestamp"]),
    ("targets", ["snapshot", "timestamp"]),
    ("targets", ["snapshot"]),
    ("targets", ["timestamp"]),
)


class Rollback(Case):
    def test_no_role_gets_older(self):
        for hashes in (False, True):
            repo = self.start(hashes=hashes)
            repo.publish_all()
            repo.publish_all()
            self.succeeds(self.refresh())
            old = dict(repo.files)
            with self.subTest("timestamp"):
                repo.timestamp.version = 1
                repo.publish("timestamp")
                self.fails(self.refresh())
                self.assertEqual(repo.asked_roles()[-1], "timestamp")
                self.assert_trusts(1, 3, 3, 3)
            repo.files.update(old)
            with self.subTest("snapshot"):
                repo.timestamp.version = 3
                repo.snapshot.version = 1
                repo.publish("snapshot", "timestamp")
                self.fails(self.refresh())
                self.assert_trusts(1, 3, 3, 3)
                self.assertEqual(repo.asked_roles()[-1], "timestamp")
            with self.subTest("targets"):
                repo.snapshot.version = 3
                repo.timestamp.version = 4
                repo.targets.version = 1
                repo.publish("targets", "snapshot", "timestamp")
                self.fails(self.refresh())
                self.assert_trusts(1, 5, 3, 3)

    def test_a_snapshot_that_forgets_a_role_is_refused(self):
        repo = self.start()
        repo.delegate("targets", "a")
        repo.publish("a", "targets", "snapshot", "timestamp")
        self.succeeds(self.refresh())
        del repo.snapshot.meta["a.json"]
        repo.publish("snapshot", "timestamp")
        self.fails(self.refresh())
        self.assert_trusts(1, 3, 2, 2)

    def test_a_snapshot_that_was_exchanged_without_a_new_timestamp_is_not_looked_at(self):
        repo = self.start()
        repo.publish_all()
        self.succeeds(self.refresh())
        repo.files["metadata/2.snapshot.json"] = repo.files["metadata/1.snapshot.json"]
        self.succeeds(self.refresh())
        self.assertEqual(repo.asked_roles()[-1], "timestamp")

    def test_new_keys_recover_from_enormous_versions(self):
        for role, rotated in RECOVERIES:
            with self.subTest(role, rotated=rotated):
                repo = self.start()
                self.forge(role)
                self.recover(role, rotated)
                self.succeeds(self.refresh())
                self.assertEqual(self.trusted()[role], 1)
                self.assert_keeps_bytes("root", "timestamp", "snapshot", "targets")

    def test_a_recovery_that_is_interrupted_at_any_step_is_gone_on_with(self):
        for role, rotated in RECOVERIES:
            for missing in ("timestamp", "snapshot", "targets"):
                with self.subTest(role, rotated=rotated, missing=missing):
                    repo = self.start()
                    self.forge(role)
                    self.recover(role, rotated)
                    path = repo.metadata_path(missing)
                    content = repo.files.pop(path)
                    self.fails(self.refresh())
                    self.assertEqual(self.trusted()["root"], 2)
                    # What the root has made fall is no longer there.
                    for name in ("timestamp", "snapshot"):
                        self.assertLess(self.trusted().get(name, 0), 99)
                    repo.files[path] = content
                    self.succeeds(self.refresh())
                    self.assertEqual(self.trusted()[role], 1)

    def test_after_a_stop_between_a_root_and_the_removal_the_floors_have_fallen(self):
        for left in (("timestamp", "snapshot"), ("timestamp",)):
            repo = self.start()
            self.forge("targets")
            kept = {name: (self.metadata / f"{name}.json").read_bytes() for name in left}
            self.recover("targets", ["timestamp"])
            repo.files.pop("metadata/timestamp.json")
            self.fails(self.refresh())
            self.assert_trusts(2, targets=100_000)
            for name, content in kept.items():
                (self.metadata / f"{name}.json").write_bytes(content)
            repo.files["metadata/timestamp.json"] = repo.before["timestamp"]
            self.succeeds(self.refresh())
            self.assertEqual(self.trusted()["targets"], 1)

    def test_another_key_for_a_role_whose_old_one_still_counts_lifts_no_floor(self):
        repo = self.start()
        repo.publish_all()
        self.succeeds(self.refresh())
        for role in ("timestamp", "snapshot"):
            repo.add_key(role)
        repo.targets.version = 0
        repo.publish("root", "targets", "snapshot", "timestamp")
        self.fails(self.refresh())
        self.assert_trusts(2, 3, 2, 2)

    def test_with_new_keys_a_snapshot_may_forget_a_role(self):
        repo = self.start()
        repo.delegate("targets", "a")
        repo.publish("a", "targets", "snapshot", "timestamp")
        self.fails(self.download("nowhere"))
        repo.replace_keys("snapshot")
        repo.targets.delegations = None
        del repo.snapshot.meta["a.json"]
        repo.publish("root", "targets", "snapshot", "timestamp")
        self.succeeds(self.refresh())
        self.assert_keeps_bytes("root", "timestamp", "snapshot", "targets")

    def forge(self, role):
        """Somebody has signed an enormous version, and the client has taken it."""
        self.repo.roles[role].version = 99_999
        self.repo.publish_all()
        self.succeeds(self.refresh())
        self.assertEqual(self.trusted()[role], 100_000)

    def recover(self, role, rotated):
        for name in rotated:
            self.repo.replace_keys(name)
        self.repo.roles[role].version = 0
        self.repo.publish("root", "targets", "snapshot", "timestamp")


class Expiry(Case):
    def test_nothing_new_is_expired_and_what_came_before_is_kept(self):
        for role, left in (
            ("root", (2, 1, 1, 1)),
            ("timestamp", (2, 1, 1, 1)),
            ("snapshot", (2, 2, 1, 1)),
            ("targets", (2, 2, 2, 1)),
        ):
            repo = self.start()
            self.succeeds(self.refresh())
            repo.roles[role].expires = days(-1)
            repo.publish("root", "targets", "snapshot", "timestamp")
            self.fails(self.refresh())
            self.assert_trusts(*left)

    def test_an_expired_root_between_two_valid_ones_is_passed(self):
        repo = self.start()
        repo.root.expires = days(-1)
        repo.publish("root")
        repo.root.expires = days(1)
        repo.publish("root")
        self.succeeds(self.refresh())
        self.assert_trusts(3, 1, 1, 1)

    def test_a_known_root_that_has_expired_is_followed_by_a_valid_one(self):
        repo = self.start()
        repo.root.expires = days(7)
        repo.publish("root")
        self.succeeds(self.refresh())
        repo.root.expires = days(21)
        repo.publish("root")
        self.succeeds(self.refresh(day=18))
        self.assert_trusts(3, 1, 1, 1)

    def test_what_is_known_is_not_used_beyond_its_expiry(self):
        for role in ("root", "timestamp", "snapshot", "targets"):
            repo = self.start()
            repo.roles[role].expires = days(7)
            repo.publish("root", "targets", "snapshot", "timestamp")
            self.succeeds(self.refresh())
            self.succeeds(self.refresh(day=6))
            self.fails(self.refresh(day=8))

    def test_what_has_expired_still_is_a_floor_and_a_beginning(self):
        repo = self.start()
        repo.timestamp.expires = days(7)
        repo.snapshot.expires = days(7)
        repo.publish_all()
        self.succeeds(self.refresh())
        repo.timestamp.expires = days(21)
        repo.snapshot.expires = days(21)
        old = repo.timestamp.version
        repo.timestamp.version = 0
        repo.publish_all()
        self.fails(self.refresh(day=18))
        self.assert_trusts(1, 2, 2, 2)
        repo.timestamp.version = old
        repo.publish_all()
        self.succeeds(self.refresh(day=18))
        self.assert_trusts(1, 3, 4, 4)

    def test_an_expired_delegated_role_is_not_used_and_a_newer_one_is(self):
        repo = self.start()
        repo.delegate("targets", "a")
        repo.roles["a"].expires = days(7)
        repo.add_file("one", b"1", "a")
        repo.add_file("two", b"2", "a")
        repo.publish("a", "targets", "snapshot", "timestamp")
        self.succeeds(self.download("one"))
        self.fails(self.download("two", day=18))
        self.assertEqual(self.downloaded(), [b"1"])
        repo.roles["a"].expires = days(21)
        repo.publish("a", "snapshot", "timestamp")
        self.succeeds(self.download("two", day=18))
        self.assertEqual(self.downloaded(), [b"1", b"2"])

    def test_a_delegated_role_that_comes_expired_is_not_kept(self):
        repo = self.start()
        repo.delegate("targets", "a")
        repo.roles["a"].expires = days(-1)
        repo.add_file("one", b"1", "a")
        repo.publish("a", "targets", "snapshot", "timestamp")
        self.succeeds(self.refresh())
        self.fails(self.download("one"))
        self.assertEqual(self.downloaded(), [])
        self.assert_trusts(1, 2, 2, 2)
