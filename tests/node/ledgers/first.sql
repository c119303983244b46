BEGIN TRANSACTION;
CREATE TABLE delivery (
	sop_instance_uid VARCHAR NOT NULL, 
	destination VARCHAR NOT NULL, 
	status VARCHAR NOT NULL, 
	attempts INTEGER NOT NULL, 
	next_at FLOAT NOT NULL, 
	deadline_at FLOAT NOT NULL, 
	sent_at FLOAT, 
	status_code INTEGER, 
	reason VARCHAR NOT NULL, 
	PRIMARY KEY (sop_instance_uid, destination), 
	FOREIGN KEY(sop_instance_uid) REFERENCES output (sop_instance_uid)
);
INSERT INTO "delivery" VALUES('1.2.826.0.1.3680043.10.1.1.77','pacs','sent',1,1763700000.0,1763790000.0,1763700013.0,0,'');
CREATE TABLE event (
	id INTEGER NOT NULL, 
	at FLOAT NOT NULL, 
	study_uid VARCHAR NOT NULL, 
	generation INTEGER NOT NULL, 
	name VARCHAR NOT NULL, 
	detail VARCHAR NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "event" VALUES(1,1763700000.0,'1.2.826.0.1.3680043.10.1.1',1,'received','');
INSERT INTO "event" VALUES(2,1763700000.0,'1.2.826.0.1.3680043.10.1.2',1,'received','');
CREATE TABLE instance (
	sop_instance_uid VARCHAR NOT NULL, 
	study_uid VARCHAR NOT NULL, 
	generation INTEGER NOT NULL, 
	series_uid VARCHAR NOT NULL, 
	sop_class_uid VARCHAR NOT NULL, 
	transfer_syntax_uid VARCHAR NOT NULL, 
	patient_digest VARCHAR NOT NULL, 
	sha256 VARCHAR NOT NULL, 
	num_bytes INTEGER NOT NULL, 
	path VARCHAR NOT NULL, 
	peer VARCHAR NOT NULL, 
	received_at FLOAT NOT NULL, 
	PRIMARY KEY (sop_instance_uid)
);
INSERT INTO "instance" VALUES('1.2.826.0.1.3680043.10.1.1.1','1.2.826.0.1.3680043.10.1.1',1,'1.2.826.0.1.3680043.10.1.1.9','1.2.840.10008.5.1.4.1.1.1.1','1.2.840.10008.1.2.1','ab12','0000000000000000000000000000000000000000000000000000000000000000',4096,'images/1.dcm','pacs',1763700000.0);
INSERT INTO "instance" VALUES('1.2.826.0.1.3680043.10.1.2.1','1.2.826.0.1.3680043.10.1.2',1,'1.2.826.0.1.3680043.10.1.2.9','1.2.840.10008.5.1.4.1.1.1.1','1.2.840.10008.1.2.1','ab12','0000000000000000000000000000000000000000000000000000000000000000',4096,'images/2.dcm','pacs',1763700000.0);
CREATE TABLE meta (
	name VARCHAR NOT NULL, 
	value VARCHAR NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "meta" VALUES('schema','1');
CREATE TABLE output (
	sop_instance_uid VARCHAR NOT NULL, 
	study_uid VARCHAR NOT NULL, 
	generation INTEGER NOT NULL, 
	kind VARCHAR NOT NULL, 
	sop_class_uid VARCHAR NOT NULL, 
	path VARCHAR NOT NULL, 
	sha256 VARCHAR NOT NULL, 
	PRIMARY KEY (sop_instance_uid)
);
INSERT INTO "output" VALUES('1.2.826.0.1.3680043.10.1.1.77','1.2.826.0.1.3680043.10.1.1',1,'report','1.2.840.10008.5.1.4.1.1.88.22','outputs/1.dcm','1111111111111111111111111111111111111111111111111111111111111111');
CREATE TABLE rejection (
	id INTEGER NOT NULL, 
	at FLOAT NOT NULL, 
	kind VARCHAR NOT NULL, 
	calling_aet VARCHAR NOT NULL, 
	address VARCHAR NOT NULL, 
	reason VARCHAR NOT NULL, 
	hint VARCHAR NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "rejection" VALUES(1,1763700000.0,'association','STRANGER','10.0.0.9','calling AE title is not known','add a peer');
CREATE TABLE result (
	study_uid VARCHAR NOT NULL, 
	generation INTEGER NOT NULL, 
	content JSON NOT NULL, 
	finished_at FLOAT NOT NULL, 
	PRIMARY KEY (study_uid, generation)
);
INSERT INTO "result" VALUES('1.2.826.0.1.3680043.10.1.1',1,'{"source": "1.2.826.0.1.3680043.10.1.1.1", "report": {"text": "The lungs are clear.", "bundle_digest": "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"}}',1763700012.0);
CREATE TABLE study (
	study_uid VARCHAR NOT NULL, 
	generation INTEGER NOT NULL, 
	"key" VARCHAR NOT NULL, 
	state VARCHAR NOT NULL, 
	reason VARCHAR NOT NULL, 
	peer VARCHAR NOT NULL, 
	first_at FLOAT NOT NULL, 
	last_at FLOAT NOT NULL, 
	ready_at FLOAT, 
	attempts INTEGER NOT NULL, 
	lease_owner VARCHAR, 
	lease_until FLOAT, 
	PRIMARY KEY (study_uid, generation)
);
INSERT INTO "study" VALUES('1.2.826.0.1.3680043.10.1.1',1,'study1','DONE','','pacs',1763700000.0,1763700001.0,1763700009.0,1,NULL,NULL);
INSERT INTO "study" VALUES('1.2.826.0.1.3680043.10.1.2',1,'study2','RECEIVING','','pacs',1763700000.0,1763700001.0,NULL,0,NULL,NULL);
CREATE INDEX ix_study_state ON study (state);
CREATE INDEX ix_study_key ON study ("key");
CREATE INDEX ix_instance_study_uid ON instance (study_uid);
CREATE INDEX ix_output_study_uid ON output (study_uid);
CREATE INDEX ix_event_study_uid ON event (study_uid);
CREATE INDEX ix_delivery_status ON delivery (status);
COMMIT;
