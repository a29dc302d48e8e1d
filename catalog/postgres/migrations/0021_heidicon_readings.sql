-- Collections from HeidICON get a source when reading them takes longer than a request may.
ALTER TABLE sources DROP CONSTRAINT sources_type_check;
ALTER TABLE sources ADD CONSTRAINT sources_type_check CHECK (type IN ('iiif', 'oai', 'heidicon'));
