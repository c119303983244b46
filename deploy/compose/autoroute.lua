-- The hospital's side: every stable CR or DX series goes to the node, once; what the node made does not.
-- `SendToModality` fails silently for a series in Orthanc 1.10, so the REST interface is used.

local routed = {}

function OnStableSeries(seriesId, tags, metadata)
   local modality = tags['Modality']
   if (modality ~= 'CR' and modality ~= 'DX') or tags['Manufacturer'] == 'cxr-node project' then
      return
   end
   local instances = #ParseJson(RestApiGet('/series/' .. seriesId, true))['Instances']
   if routed[seriesId] == instances then
      return
   end
   routed[seriesId] = instances
   RestApiPost('/modalities/cxrnode/store',
               DumpJson({Resources = {seriesId}, Asynchronous = true}, true), true)
end
