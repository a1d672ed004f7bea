// Decisions from stored probabilities, as `decision.py` and `inference/decide.py` make them: another threshold or prevalence
// needs no other request.

// By Bayes' rule; the ratio of the classes other than the first is kept.
function atPrevalence(probabilities, assumed, prevalence) {
  const moved = probabilities.map((value, place) => value * (place ? prevalence / assumed : (1 - prevalence) / (1 - assumed)));
  const sum = moved.reduce((all, value) => all + value, 0);
  return moved.map((value) => value / sum);
}

// Operating point of a bundle with its thresholds converted to another prevalence.
export function pointAt({ operating_points: points, prevalence: assumed, fitted_on }, name, prevalence) {
  const { threshold, refer_from: from, refer_to: to, ...measured } = points[name];
  const [low, at, high] = [from, threshold, to].map((edge) => atPrevalence([1 - edge, edge], assumed, prevalence)[1]);
  return { name, threshold: at, refer_from: Math.min(low, at), refer_to: Math.max(high, at), ...measured, fitted_on };
}

// A prediction that was requested at the bundle's own prevalence, as it is at an operating point and a prevalence.
export function decided(prediction, bundle, name, prevalence) {
  const point = pointAt(bundle, name, prevalence);
  if (prediction.class_probability == null) return { ...prediction, operating_point: point };
  const { refer_from: from, refer_to: to, threshold } = bundle.operating_points[name];
  const stored = prediction.pneumonia_probability;
  const outside = prediction.reasons.filter((reason) => reason !== "near_threshold");
  const near = from <= stored && stored < to;
  const referred = near || outside.some((reason) => !bundle.accept.includes(reason));
  const names = Object.keys(prediction.class_probability);
  const shown = atPrevalence(Object.values(prediction.class_probability), bundle.prevalence, prevalence);
  const decision = referred ? "refer" : stored >= threshold ? "pneumonia" : "normal";
  return {
    ...prediction,
    decision,
    outcome: referred || names.length !== 2 ? decision : names[decision === "normal" ? 0 : 1],
    reasons: near ? ["near_threshold", ...outside] : outside,
    pneumonia_probability: Math.min(1, shown.slice(1).reduce((all, value) => all + value, 0)),
    class_probability: Object.fromEntries(names.map((each, place) => [each, shown[place]])),
    operating_point: point,
  };
}
