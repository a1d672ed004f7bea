-- Sends every radiograph that arrives to the node; its answers are SR and OT.
function OnStoredInstance(instance, tags, metadata)
   if tags["Modality"] == "CR" or tags["Modality"] == "DX" then
      SendToModality(instance, "pneumoscope")
   end
end
